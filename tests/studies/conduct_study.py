"""A program for the crash tests: conducts a study on a folder store, as `assay run` does, and says what happens.

    python conduct_study.py STORE made-up|training

Prints one line per event, and at the end ``done cached failed``.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Literal

from assay.errors import AssayError
from assay.recipe.schema import Recipe
from assay.records import Run
from assay.studies.design import Study
from assay.studies.executors.processes import ProcessExecutor
from assay.studies.runner import StudyEnded, conduct
from assay.studies.store.folder import FolderStore
from assay.testing.trials import made_up_fingerprint, made_up_recipe, slow_trial

JOBS = 2
SEEDS: dict[str, Literal[12, 3]] = {"made-up": 12, "training": 3}


def study_of(kind: str) -> Study:
    recipe = made_up_recipe()
    return Study(
        question="Does it survive?",
        base={
            "data": recipe.data.model_dump(mode="json"),
            "model": recipe.model.model_dump(mode="json"),
            "train": {"epochs": 3},
        },
        arms={"plain": {}, "wet": {"model.dropout": 0.25}, "wetter": {"model.dropout": 0.5}},
        seeds={"at_least": SEEDS[kind], "at_most": SEEDS[kind]},
    )


def train(recipe: Recipe) -> Run:
    from assay.training.run import run_recipe

    return run_recipe(recipe, fingerprint=made_up_fingerprint(recipe))


TRIALS = {"made-up": functools.partial(slow_trial, seconds=0.01), "training": train}


def main(store: Path, kind: str) -> int:
    events = conduct(
        study_of(kind),
        fingerprint=made_up_fingerprint,
        store=FolderStore(store),
        executor=functools.partial(ProcessExecutor, TRIALS[kind], jobs=JOBS),
    )
    try:
        for event in events:
            print(type(event).__name__, flush=True)
            if isinstance(event, StudyEnded):
                print(event.done, event.cached, event.failed, flush=True)
    except AssayError as error:
        print(error, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
