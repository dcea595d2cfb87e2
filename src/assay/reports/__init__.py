"""The lab report of a study: one offline HTML page, CSV tables, a summary for the terminal.

Everything is computed from stored runs, without any training framework, so a page can be made again anywhere.
"""

from assay.reports.build import build_page
from assay.reports.page import Page
from assay.reports.render import render
from assay.reports.summary import summary
from assay.reports.tables import tables
from assay.reports.writer import write

__all__ = ["Page", "build_page", "render", "summary", "tables", "write"]
