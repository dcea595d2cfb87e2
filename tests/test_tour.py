"""docs/tour.py runs, answers its question, and trains nothing twice."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

TOUR = Path(__file__).parents[1] / "docs" / "tour.py"


@pytest.fixture
def tour(monkeypatch):
    spec = importlib.util.spec_from_file_location("tour", TOUR)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tour", module)
    spec.loader.exec_module(module)
    return module


def test_the_tour_reaches_verdicts_and_keeps_its_runs(tour, tmp_path, monkeypatch, capsys):
    verdicts = tour.main(tmp_path)
    assert verdicts == {"momentum": "helps", "decay": "no difference that matters"}
    printed = capsys.readouterr().out
    monkeypatch.setattr(tour, "train", lambda recipe: pytest.fail(f"trained {recipe} twice"))
    assert tour.main(tmp_path) == verdicts
    assert capsys.readouterr().out == printed


def test_the_tour_stays_short():
    assert len(TOUR.read_text(encoding="utf-8").splitlines()) <= 150
