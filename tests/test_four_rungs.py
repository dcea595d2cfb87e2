"""docs/four_rungs.py: one hidden layer four times over, and the engines that run the same."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

LADDER = Path(__file__).parents[1] / "docs" / "four_rungs.py"


def test_the_four_rungs_and_their_engines_give_one_curve(monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("four_rungs", LADDER)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "four_rungs", module)
    spec.loader.exec_module(module)
    curves = [module.curve(rung()) for rung in (module.by_hand, module.with_autograd, module.with_modules)]
    optimized = module.curve(module.with_an_optimizer())
    assert all(abs(a - b) <= 1e-10 for curve in curves for a, b in zip(curve, optimized, strict=True))
    assert optimized[-1] < optimized[0] - 0.01
    assert set(module.main()) == {"numpy", "autograd", "modules", "torch"}
    assert max(module.main().values()) <= 1e-10
    assert "train.engine modules" in capsys.readouterr().out
