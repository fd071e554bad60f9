"""Reading what anybody may have written.

A file says how large it is, how deep its tables are, how many entries it has. Nothing of that is
believed: what it says is compared with the bytes that are there before memory is asked for, and
parsers of the standard library that answer bad input with other errors than ``ValueError`` are
made to.
"""
