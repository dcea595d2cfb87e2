"""The lab report of a study: one offline HTML page, CSV tables, a summary for the terminal.

Everything is computed from stored runs, without any training framework, so a page can be made again anywhere.
"""

from assay.report.build import build_page
from assay.report.page import Page
from assay.report.render import render
from assay.report.summary import summary
from assay.report.tables import tables
from assay.report.writer import write

__all__ = ["Page", "build_page", "render", "summary", "tables", "write"]
