"""How long work is said to take."""

from assay.cli import progress
from assay.cli.progress import Pace
from assay.studies.events import DataRead


def test_images_done_before_the_clock_started_do_not_make_it_look_quick(monkeypatch):
    now = iter([100.0, 110.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    pace = Pace()
    pace.take(DataRead(source="folder", done=500, total=1000))
    assert pace.time_left == ""
    pace.take(DataRead(source="folder", done=600, total=1000))
    assert pace.time_left == "  about 40 s left"
