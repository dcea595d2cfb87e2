"""Runs killed with ``kill -9``, again and again, and taken up: they equal a run that was never killed, bit for bit.

Every death is that of a real process (`resuming.py`).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from recipes_to_resume import RECIPES, recipe

from assay.studies.store.contract import StoredRun
from assay.studies.store.folder import FolderStore
from assay.testing.comparing import differences

HERE = Path(__file__).parent
FINGERPRINT = "f00d"
Life = Callable[..., str]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kills processes as POSIX does")


@pytest.fixture(scope="module")
def live() -> Iterator[Life]:
    """Trains a recipe in a process of its own; says whether it is ``done`` or ``died``."""
    program = subprocess.Popen(
        [sys.executable, str(HERE / "resuming.py"), str(HERE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with program:
        assert program.stdout.readline() == "ready\n"

        def one_life(recipe: dict[str, Any], store: Path, *, steps: int | None = None, **order: Any) -> str:
            every = {"seconds": 0.0} if steps is None else {"steps": steps}
            order = {"recipe": recipe, "store": str(store), "every": every, **order}
            print(json.dumps(order), file=program.stdin, flush=True)
            answer = program.stdout.readline().strip()
            assert answer in ("done", "died")
            return answer

        yield one_life
        program.stdin.close()


def kept(store: Path) -> StoredRun:
    found = FolderStore(store).get(FINGERPRINT)
    assert found is not None
    return found


def steps_of(run: StoredRun) -> int:
    return run.history()[-1].step + 1


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_run_killed_at_random_steps_is_the_run_that_was_not(name: str, live: Life, tmp_path: Path) -> None:
    chance = random.Random(name)
    assert live(recipe(name), tmp_path / "undisturbed") == "done"
    undisturbed = kept(tmp_path / "undisturbed")
    steps = steps_of(undisturbed)
    assert steps > 12
    deaths = sorted(chance.sample(range(2, steps + 1), 3))
    for death in deaths:
        interval = chance.choice([None, 1, 2, 3, 5])
        assert live(recipe(name), tmp_path / "killed", steps=interval, dies_after=death) == "died"
    assert live(recipe(name), tmp_path / "killed") == "done"
    killed = kept(tmp_path / "killed")
    assert differences(killed, undisturbed) == []
    assert "interrupted, and continued after step" in killed.log()
    assert list((tmp_path / "killed" / "work").iterdir()) == []


@pytest.mark.parametrize("name", ["adam, plateau, moving average", "by hand, adam"])
def test_killed_at_random_moments_until_it_is_done(name: str, live: Life, tmp_path: Path) -> None:
    chance = random.Random(name)
    longer = recipe(name)
    longer["train"]["epochs"] = 8
    assert live(longer, tmp_path / "undisturbed") == "done"
    lives = 0
    while live(longer, tmp_path / "killed", steps=2, dies_within=chance.uniform(0.1, 0.3 + 0.2 * lives)) == "died":
        lives += 1
    assert lives > 0
    assert differences(kept(tmp_path / "killed"), kept(tmp_path / "undisturbed")) == []


@pytest.mark.parametrize("every", [1, None], ids=["before measuring", "after measuring"])
@pytest.mark.parametrize("epoch", [1, 2])
def test_the_end_of_an_epoch_is_a_place_to_go_on_from(
    every: int | None, epoch: int, live: Life, tmp_path: Path
) -> None:
    """By steps a checkpoint is written once, when an epoch's last step is done; by time also when it was measured."""
    stopping = recipe("adam, float64, the best epoch")
    assert live(stopping, tmp_path / "undisturbed") == "done"
    undisturbed = kept(tmp_path / "undisturbed")
    death = undisturbed.history()[epoch - 1].step + 2
    assert live(stopping, tmp_path / "killed", steps=every, dies_after=death) == "died"
    assert live(stopping, tmp_path / "killed", steps=every) == "done"
    assert differences(kept(tmp_path / "killed"), undisturbed) == []
    assert f"continued after step {death - 1}\n" in kept(tmp_path / "killed").log()


@pytest.mark.parametrize("moment", ["half", "renamed", "after"])
def test_killed_while_it_writes_a_checkpoint(moment: str, live: Life, tmp_path: Path) -> None:
    name = "muon, channels last"
    assert live(recipe(name), tmp_path / "undisturbed") == "done"
    for times in (1, 3, 4):  # the first time there is no former checkpoint
        order = {"steps": 2, "dies_writing": [moment, times]}
        assert live(recipe(name), tmp_path / "killed", **order) == "died"
    folder = tmp_path / "killed" / "work" / FINGERPRINT
    aside = [path.name for path in folder.iterdir() if path.name.startswith("writing-")]
    assert bool(aside) == (moment != "after")
    assert live(recipe(name), tmp_path / "killed", steps=2) == "done"
    killed = kept(tmp_path / "killed")
    assert differences(killed, kept(tmp_path / "undisturbed")) == []
    assert killed.log().count("continued after step") == (3 if moment == "after" else 2)
    assert not folder.exists()


def test_killed_before_its_first_checkpoint_it_begins_anew(live: Life, tmp_path: Path) -> None:
    name = "sgd, one cycle"
    assert live(recipe(name), tmp_path / "undisturbed") == "done"
    assert live(recipe(name), tmp_path / "killed", steps=100, dies_after=7) == "died"
    assert live(recipe(name), tmp_path / "killed", steps=100) == "done"
    killed = kept(tmp_path / "killed")
    assert differences(killed, kept(tmp_path / "undisturbed")) == []
    assert "continued" not in killed.log()
