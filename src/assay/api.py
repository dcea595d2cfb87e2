"""Load, run, report: the one place that wires training into studies."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assay.errors import InputError, InvalidValueError, RunFailedError
from assay.recipe.fingerprint import fingerprint
from assay.recipe.overrides import set_values
from assay.recipe.reading import Document, read_document
from assay.recipe.schema import Recipe
from assay.recipe.user_code import check_path, source_hash, user_paths
from assay.records import Run
from assay.studies.archive import keep_fingerprints, keep_study, kept_results
from assay.studies.design import Study, single_run, slug
from assay.studies.events import Event, LookStarted, StudyEnded
from assay.studies.executors.contract import Executor
from assay.studies.results import StudyResults
from assay.studies.runner import conduct
from assay.studies.store.folder import FolderStore

DEFAULT_STORE = Path("assay-runs")
ExecutorName = Literal["processes", "inline"]


# --- reading ----------------------------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Study:
    """Read a study file, or a file with a single recipe, which becomes a study of one run.

    Args:
        path: the file, YAML 1.2.
        overrides: ``KEY=VALUE`` words as after ``--set``: dotted paths in the file, applied before arms are expanded.

    Raises:
        InputError: the file cannot be read.
        StudyFileError: something in it breaks a rule; the message names file, line, key, rule and value.
    """
    file = Path(path)
    document = read_document(file)
    set_values(document, list(overrides))
    try:
        study = _study_of(document, file)
        _refuse_lost_overrides(document, study)
    except InvalidValueError as error:
        raise document.located(error) from None
    return study.read_from(str(file.resolve()))


def _study_of(document: Document, file: Path) -> Study:
    data = document.data
    sections = set(Recipe.model_fields)
    if set(data) & sections and not set(data) & {"base", "arms", "grid", "leave_one_out"}:
        return single_run(Recipe.model_validate(data), study_name(file))
    stray = sorted(set(data) & sections)
    if stray:
        raise InvalidValueError((stray[0],), "is a key of recipes, not of studies.", f'Did you mean "base.{stray[0]}"?')
    return Study.model_validate(data if data.get("name") else {**data, "name": study_name(file)})


def study_name(file: Path) -> str:
    """The name a study file has by default: its path below ``labs``, or its own name, as a slug."""
    parts = file.resolve().with_suffix("").parts
    below = parts[len(parts) - parts[::-1].index("labs") :] if "labs" in parts[:-1] else parts[-1:]
    return slug("-".join(below)) or "study"


def _refuse_lost_overrides(document: Document, study: Study) -> None:
    """An override of the base that every arm overrides again would be dropped silently."""
    for path, words in document.overridden.items():
        if path[:1] != ("base",) or len(path) < 2:
            continue
        key = ".".join(map(str, path[1:]))
        if all(any(key == own or key.startswith(own + ".") for own in arm.changes) for arm in study.arms):
            raise InputError(
                f"{words}: has no effect, for every arm sets {key} itself. Set it in the arms, such as "
                f"--set 'arms.{study.arms[0].name}.{key}=…', or remove it there."
            )


# --- running ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How and where to run: nothing in here decides a number.

    ``jobs`` None means as many as the cores allow; ``time_limit`` is in seconds per run.
    """

    store: Path = DEFAULT_STORE
    jobs: int | None = None
    executor: ExecutorName = "processes"
    device: str = "auto"
    time_limit: float | None = None
    fail_fast: bool = False


def run(study: Study | Recipe, **settings: Any) -> StudyResults:
    """Train what the study still lacks, judge its claims, and keep everything in the store.

    Args:
        study: the study, or a single recipe.
        **settings: fields of `Settings`.

    Returns:
        The study with its runs and the verdict on each claim. Runs that failed are in ``failures``.

    Raises:
        InputError: the settings or a class of the user's own cannot be used; nothing was started.
        StoreError: the store cannot be read or written.
    """
    if isinstance(study, Recipe):
        study = single_run(study, "run-" + fingerprint_of(study)[:8])
    for event in start(study, Settings(**settings)):
        if isinstance(event, StudyEnded):
            return event.results
    raise RunFailedError(f"study {study.name} ended without a result")


def start(study: Study, settings: Settings) -> Generator[Event, None, None]:
    """The same as `run`, one event at a time; leave the loop to stop. What was finished by then is kept."""
    store = FolderStore(settings.store)
    for path in study_user_paths(study):
        check_path(path)
    keep_study(study, store)
    factory = functools.partial(make_executor, study, settings)
    with contextlib.closing(
        conduct(study, fingerprint=fingerprint_of, store=store, executor=factory, fail_fast=settings.fail_fast)
    ) as events:
        for event in events:
            if isinstance(event, LookStarted):  # before its runs, so that an interrupted study has a report
                keep_fingerprints(study, fingerprints_of(study, event.seeds), store)
            yield event


def study_user_paths(study: Study) -> tuple[str, ...]:
    """The dotted paths of all the user's own classes in a study, each once."""
    return tuple(dict.fromkeys(path for arm in study.arms for path in user_paths(arm.recipe)))


def fingerprints_of(study: Study, seeds: int) -> dict[str, dict[int, str]]:
    """The fingerprint of each arm's first ``seeds`` runs, by arm and seed."""
    return {
        arm.name: {recipe.seed: fingerprint_of(recipe) for recipe in map(arm.recipe_at, range(seeds))}
        for arm in study.arms
    }


def fingerprint_of(recipe: Recipe) -> str:
    """The fingerprint of a recipe: of its keys, its data set, and the user's own classes in it."""
    sources = {path: _source_hash(path) for path in user_paths(recipe)}
    return fingerprint(recipe, _data_fingerprint(recipe.data.model_dump_json()), sources)


@functools.lru_cache(maxsize=1024)
def _data_fingerprint(data_json: str) -> str:
    from assay.data.load import source_fingerprint

    recipe = Recipe.model_validate_json(f'{{"data": {data_json}, "model": {{"name": "mlp"}}}}')
    return source_fingerprint(recipe.data)


_source_hash = functools.lru_cache(maxsize=256)(source_hash)


def run_trial(recipe: Recipe, *, device: str) -> Run:
    """Train one recipe: what executors are handed. Device ``auto`` is a CUDA GPU if there is one, else the CPU."""
    import torch

    from assay.training.run import run_recipe

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return run_recipe(recipe, fingerprint=fingerprint_of(recipe), device=device)


def make_executor(study: Study, settings: Settings) -> Executor:
    """The executor the settings ask for. Called once something is to be computed; cached studies never get here."""
    _check_user_classes(study)
    trial: Callable[[Recipe], Run] = functools.partial(run_trial, device=settings.device)
    if settings.executor == "inline":
        from assay.studies.executors.inline import InlineExecutor

        return InlineExecutor(trial, time_limit=settings.time_limit)
    from assay.studies.executors.processes import ProcessExecutor

    return ProcessExecutor(trial, jobs=jobs_for(study, settings.jobs), time_limit=settings.time_limit, set_up=warm_up)


def warm_up() -> None:
    """Import what every trial needs, so that the first one of a worker is as quick as the rest."""
    import assay.training.run  # noqa: F401


def jobs_for(study: Study, asked: int | None) -> int:
    """How many runs to train side by side: their threads together never exceed the cores."""
    if study.times_runs:
        return 1  # runs that are timed must not disturb each other
    threads = max(arm.recipe.train.threads for arm in study.arms)
    most = max(1, available_cores() // threads)
    return most if asked is None else min(asked, most)


def available_cores() -> int:
    """The CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_user_classes(study: Study) -> None:
    """Build what a study names by dotted path once, so that one that does not fit is found at the start."""
    for arm in study.arms:
        if user_paths(arm.recipe):
            from assay.training.describe import model_anatomy

            model_anatomy(arm.recipe)


# --- reporting --------------------------------------------------------------------------------------------------------


def report(results: StudyResults | Study | str, store: str | os.PathLike[str] = DEFAULT_STORE) -> Path:
    """Write the lab report of a study and return the page's path.

    Args:
        results: what `run` returned, or a study or the name of one that the store holds.
        store: the folder of the run store.
    """
    from assay.reports.writer import write

    keeper = FolderStore(Path(store))
    if not isinstance(results, StudyResults):
        results = kept_results(results if isinstance(results, str) else results.name, keeper)
    return write(results, keeper.study_folder(results.study.name))
