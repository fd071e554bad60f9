"""Cohorts: one job for each row of a table, on this machine or on many.

A row becomes a request (:mod:`rows`, from :mod:`manifest` or :mod:`bids_rows`), is refused before
anything starts or not at all (:mod:`plan`), runs in a worker process of its own (:mod:`row`) that
an engine (:mod:`local`, :mod:`on_dask`) gives it a place for, and is remembered in a file of its
own (:mod:`state`) with what it was made of (:mod:`content`).
"""
