"""Charts drawn as SVG: complete without script, sharp in print, themed by the page's style sheet.

Widths are percentages, so that a chart fits a phone and a desktop alike without its text changing size; curves, whose
points cannot be percentages, lie in an inner drawing that is stretched. Every mark carries its values as a title.
"""

from assay.reports.charts.bars import bar
from assay.reports.charts.boundary import boundary, class_key
from assay.reports.charts.curves import curve_chart
from assay.reports.charts.distribution import distribution_axis, distribution_row
from assay.reports.charts.forest import forest
from assay.reports.charts.histogram import histogram
from assay.reports.charts.matrix import matrix
from assay.reports.charts.reliability import reliability
from assay.reports.charts.sparkline import sparkline
from assay.reports.charts.thumbnails import sheet, thumbnail

__all__ = [
    "bar",
    "boundary",
    "class_key",
    "curve_chart",
    "distribution_axis",
    "distribution_row",
    "forest",
    "histogram",
    "matrix",
    "reliability",
    "sheet",
    "sparkline",
    "thumbnail",
]
