"""How long work is said to take."""

from assay.cli import progress
from assay.cli.progress import Bar, Lines, Pace
from assay.records import RunProgress
from assay.studies.events import DataRead, LookStarted, RunFinished, RunProgressed, Trial
from assay.testing.trials import made_up_recipe, made_up_run


def test_images_done_before_the_clock_started_do_not_make_it_look_quick(monkeypatch):
    now = iter([100.0, 110.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    pace = Pace()
    pace.take(DataRead(source="folder", done=500, total=1000))
    assert pace.time_left == ""
    pace.take(DataRead(source="folder", done=600, total=1000))
    assert pace.time_left == "  about 40 s left"


def progressed(first=False, **progress):
    trial = Trial(arm="plain", seed=3, fingerprint="f00d", recipe=made_up_recipe(3))
    whole = {"epoch": 3, "epochs": 10, "step": 250, "steps": 1000, **progress}
    return RunProgressed(trial=trial, progress=RunProgress(**whole), first=first)


def test_a_run_under_way_is_told_once_a_minute_in_a_log(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = Lines()
    for now[0] in range(0, 150, 10):
        lines.show(progressed(first=now[0] == 0, val_accuracy=0.891, seconds_left=370.0))
    line = "plain, seed 3: epoch 3/10, val 0.89  about 6 min left\n"
    assert capsys.readouterr().err == 2 * line


def test_a_run_that_is_taken_up_is_told_at_once_and_once(capsys):
    lines = Lines()
    for first in (True, False):
        lines.show(progressed(first=first, continued_after=250))
    assert capsys.readouterr().err == "plain, seed 3: continues at epoch 3, step 250\n"


def test_a_bar_for_each_run_that_takes_its_time(capsys):
    with Bar() as bar:
        bar.show(LookStarted(seeds=3, missing=2))
        bar.show(progressed(first=True, continued_after=250))
        bar.show(progressed(step=300, seconds_left=20.0))
        (study, run) = bar._progress.tasks
        assert (run.completed, run.total, run.fields["left"]) == (300, 1000, "  about 20 s left")
        assert run.description == "  plain, seed 3: epoch 3/10"
        ended = RunFinished(trial=progressed().trial, run=Stored(made_up_run(made_up_recipe(3))))
        bar.show(ended)
        assert bar._progress.tasks == [study]
        assert study.completed == 1
    assert "plain, seed 3: continues at epoch 3, step 250" in capsys.readouterr().err


class Stored:
    """Of a stored run, what the progress shows."""

    def __init__(self, run):
        self.record = run.record
