"""The lab report of a study: one offline HTML page, CSV tables, a summary for the terminal.

Everything is computed from stored runs, without any training framework, so a page can be made again anywhere.
"""
