"""A program for the tests of resuming: trains recipes, each in a process of its own that dies when it is told to.

    python resuming.py FOLDER_OF_OWN_MODULES

Reads one JSON object per line and answers each with one line: ``done`` or ``died``. torch is imported once, and each
process is a fork of this one, so that a death costs milliseconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from PIL import PngImagePlugin  # noqa: F401 - once for all

from assay.recipe.schema import Recipe
from assay.studies.store import disk, lease  # noqa: F401 - likewise
from assay.studies.store.folder import FolderStore
from assay.training.checkpoint import Checkpoints
from assay.training.every import Every
from assay.training.prepare import prepare_data
from assay.training.run import run_recipe

FINGERPRINT = "f00d"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingCheckpoints(Checkpoints):
    """Dies after so many steps, before a checkpoint of that step is written."""

    dies_after: int | None = None

    def after(self, step: int) -> bool:
        if step == self.dies_after:
            die()
        return super().after(step)


class DyingFile(disk.WorkFile):
    """Dies while it writes for the n-th time: ``half`` way through, before it is ``renamed``, or right ``after``."""

    def __init__(self, path: Path, moment: str, times: int) -> None:
        super().__init__(path)
        self._moment = moment
        self._left = times

    def write(self, data: bytes) -> None:
        self._left -= 1
        if self._left == 0 and self._moment == "half":
            disk.write_file(self.path.with_name("writing-1-half"), data[: len(data) // 2])
            die()
        if self._left == 0 and self._moment == "renamed":
            Path.replace = lambda *_: die()  # type: ignore[method-assign]
        super().write(data)
        if self._left == 0:
            die()


def train(order: dict[str, Any]) -> None:
    """Train as the order says, in this process, and keep the run in the order's store."""
    store = FolderStore(Path(order["store"]))
    held = store.try_lease(FINGERPRINT)
    if held is None:
        raise RuntimeError("the lease of a dead process was not given back")
    file = store.checkpoint_file(FINGERPRINT)
    if "dies_writing" in order:
        file = DyingFile(file.path, *order["dies_writing"])
    checkpoints = DyingCheckpoints(file, Every(**order["every"]))
    checkpoints.dies_after = order.get("dies_after")
    recipe = Recipe.model_validate(order["recipe"])
    store.add(run_recipe(recipe, fingerprint=FINGERPRINT, checkpoints=checkpoints))
    held.release()


def warm_up() -> None:
    """Load what every process would have to otherwise."""
    torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # imports much more of torch
    digits = {"data": {"source": "digits"}, "model": {"name": "mlp"}}
    prepare_data(Recipe.model_validate(digits), torch.device("cpu"))


def main() -> None:
    torch.set_num_threads(1)  # a pool of threads would not survive the fork
    warm_up()
    os.fsync = lambda _: None  # which guards against power cuts, and would take most of the time
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                train(order)
                code = 0
            except BaseException:  # noqa: BLE001 - the tests show it
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        if "dies_within" in order:
            time.sleep(order["dies_within"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        died = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("died" if died else "done" if status == 0 else "failed", flush=True)


if __name__ == "__main__":
    sys.path[:0] = sys.argv[1:]
    main()
