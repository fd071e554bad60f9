"""Self-contained HTML reports with pictures (needs matplotlib, the extra ``report``).

``Report`` in :mod:`mriforge.report.html` is the whole interface; the other files draw.
"""
