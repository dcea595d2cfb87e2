"""Load, run, report: the one place that wires training into studies."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from assay.data.in_parallel import available_cores
from assay.data.places import use_data_folder
from assay.errors import InputError, InvalidValueError, RunFailedError, did_you_mean, shown
from assay.recipe.hardware import settled
from assay.recipe.overrides import apply_profile, set_values, take_profiles
from assay.recipe.reading import Document, read_document
from assay.recipe.schema import FittedAtOnce, LeNet5Model, MlpModel, Recipe
from assay.recipe.user_code import check_path, look_in, user_paths
from assay.records import Run
from assay.run_names import explaining_own_code, fingerprint_now, fingerprint_of, fingerprints_of, forget_fingerprints
from assay.studies.archive import keep_fingerprints, keep_study, kept_results
from assay.studies.design import Study, single_run, study_slug
from assay.studies.events import DataRead, Event, LookStarted, StudyEnded
from assay.studies.executors.contract import Executor
from assay.studies.results import StudyResults
from assay.studies.runner import conduct
from assay.studies.store.folder import FolderStore
from assay.training.every import Every

DEFAULT_STORE = Path("assay-runs")
CHECKPOINT_EVERY = "2min"
ExecutorName = Literal["processes", "inline"]


# --- reading ----------------------------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str], overrides: Sequence[str] = (), *, profile: str | None = None) -> Study:
    """Read a study file, or a file with a single recipe, which becomes a study of one run.

    Args:
        path: the file, YAML 1.2.
        overrides: ``KEY=VALUE`` words as after ``--set``: dotted paths in the file, applied before arms are expanded.
        profile: name of one of the file's ``profiles``, whose changes are applied before the overrides; the study's
            name then ends in it.

    Raises:
        InputError: the file cannot be read.
        StudyFileError: something in it breaks a rule; the message names file, line, key, rule and value.
    """
    if isinstance(overrides, str) or not all(isinstance(words, str) for words in overrides):
        raise InputError(f"overrides must be a list of KEY=VALUE words, got {shown(overrides)}.")
    file = Path(path)
    document = read_document(file)
    profiles = take_profiles(document)
    _spell_out_seeds(document)
    if profile is not None:
        apply_profile(document, profiles, profile)
        _spell_out_seeds(document)
    set_values(document, list(overrides))
    try:
        study = _study_of(document, file, "" if profile is None else f"-{profile}")
        _refuse_lost_overrides(document, study)
    except InvalidValueError as error:
        raise document.located(error) from None
    place = file.resolve()
    if study_user_paths(study):
        look_in(place.parent)
    return study.read_from(str(place))


def _spell_out_seeds(document: Document) -> None:
    """``seeds: 3`` means both counts, so that ``--set seeds.at_most=5`` finds one of them to change."""
    count = document.data.get("seeds")
    if type(count) is int:
        document.data["seeds"] = {"at_least": count, "at_most": count}


def _study_of(document: Document, file: Path, suffix: str) -> Study:
    data = document.data
    sections = set(Recipe.model_fields)
    if set(data) & sections and not set(data) & {"base", "arms", "grid", "leave_one_out"}:
        return single_run(Recipe.model_validate(data), study_name(file) + suffix)
    stray = sorted(set(data) & sections)
    below_base = next((words for path, words in document.overridden.items() if path[0] == "base"), None)
    if stray and below_base and ("base",) not in document.lines:
        raise InputError(
            f"{below_base}: {file} is a single recipe, whose keys have no base. before them; leave it out."
        )
    if stray:
        raise InvalidValueError((stray[0],), "is a key of recipes, not of studies.", f'Did you mean "base.{stray[0]}"?')
    name = data.get("name") or study_name(file)
    return Study.model_validate({**data, "name": name + suffix if isinstance(name, str) else name})


def study_name(file: Path) -> str:
    """The name a study file has by default: its path below ``labs``, or its own name, as a slug."""
    parts = file.resolve().with_suffix("").parts
    below = parts[len(parts) - parts[::-1].index("labs") :] if "labs" in parts[:-1] else parts[-1:]
    return study_slug("-".join(below))


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

    ``data_dir`` is the folder data are looked for in, before the user cache; None means those of ``$ASSAY_DATA``. It is
    put into this process's environment, where workers find it, and stays there. ``jobs`` None means as many as the
    cores allow; ``time_limit`` is in seconds per run. ``checkpoint_every`` says how often a run under way is kept,
    so that it goes on from there if it is interrupted: ``30s``, ``5min``, ``2h``, ``500steps`` or ``never``.

    Raises:
        InputError: a value is of another kind, or out of range.
    """

    store: str | os.PathLike[str] = DEFAULT_STORE
    data_dir: str | os.PathLike[str] | None = None
    jobs: int | None = None
    executor: ExecutorName = "processes"
    device: str = "auto"
    time_limit: float | None = None
    fail_fast: bool = False
    checkpoint_every: str = CHECKPOINT_EVERY

    def __post_init__(self) -> None:
        if not isinstance(self.store, str | os.PathLike) or not str(self.store):
            raise InputError(f"store must be the path of a folder, got {shown(self.store)}.")
        if self.data_dir is not None and (not isinstance(self.data_dir, str | os.PathLike) or not str(self.data_dir)):
            raise InputError(f"data_dir must be the path of a folder, or None, got {shown(self.data_dir)}.")
        if self.jobs is not None and (type(self.jobs) is not int or self.jobs < 1):
            raise InputError(f"jobs must be a whole number from 1, or None, got {shown(self.jobs)}.")
        if self.executor not in get_args(ExecutorName):
            raise InputError(
                f"executor must be one of {', '.join(get_args(ExecutorName))}, got {shown(self.executor)}."
            )
        if not isinstance(self.device, str):
            raise InputError(f"device must be a name such as auto, cpu or cuda, got {shown(self.device)}.")
        if type(self.fail_fast) is not bool:
            raise InputError(f"fail_fast must be true or false, got {shown(self.fail_fast)}.")
        self._check_time_limit()
        Every.parse(self.checkpoint_every)

    def _check_time_limit(self) -> None:
        limit = self.time_limit
        if limit is None:
            return
        number = isinstance(limit, int | float) and not isinstance(limit, bool) and math.isfinite(limit)
        if not number or not 0 < limit <= threading.TIMEOUT_MAX:
            raise InputError(
                f"The time limit must be above 0 and at most {threading.TIMEOUT_MAX:,.0f} seconds, got {shown(limit)}."
            )
        if self.executor == "inline":
            raise InputError(
                f"A time limit needs worker processes, got {limit:g} s with the inline executor. "
                "Leave one of the two out."
            )


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
    names = [field.name for field in fields(Settings)]
    for name in settings:
        if name not in names:
            raise InputError(f"run has no setting {name!r}. {did_you_mean(name, names)}")
    chosen = Settings(**settings)
    if chosen.data_dir is not None:
        use_data_folder(chosen.data_dir)  # a recipe's name below asks for its data
    if isinstance(study, Recipe):
        forget_fingerprints()
        study = single_run(study, "run-" + fingerprint_of(study, chosen.device)[:8])
    if not isinstance(study, Study):
        raise InputError(f"run needs a Study or a Recipe, got {shown(study)}. Read a file with assay.load(path).")
    for event in start(study, chosen):
        if isinstance(event, StudyEnded):
            return replace(event.results, store=str(chosen.store))
    raise RunFailedError(f"study {study.name} ended without a result")


def start(study: Study, settings: Settings) -> Generator[Event, None, None]:
    """The same as `run`, one event at a time; leave the loop to stop. What was finished by then is kept."""
    forget_fingerprints()
    if settings.data_dir is not None:
        use_data_folder(settings.data_dir)
    store = FolderStore(Path(settings.store))
    for path in study_user_paths(study):
        check_path(path)
    keep_study(study, store)
    factory = functools.partial(make_executor, study, settings)
    name_run = functools.partial(fingerprint_of, device=settings.device)
    with contextlib.closing(
        conduct(study, fingerprint=name_run, store=store, executor=factory, fail_fast=settings.fail_fast)
    ) as events:
        for event in events:
            if isinstance(event, LookStarted):  # before its runs, so that an interrupted study has a report
                keep_fingerprints(study, fingerprints_of(study, event.seeds, settings.device), store)
                if event.missing:
                    yield from _reading_ahead(study)
            yield event


def _reading_ahead(study: Study) -> Generator[Event, None, None]:
    """Decode the folders of images that a study trains on, before the first run would have to, and check them."""
    from assay.data.demands import check_demands
    from assay.data.load import read_ahead

    sections = {arm.recipe.data.model_dump_json(): arm.recipe.data for arm in study.arms}
    for data in sections.values():
        for step in read_ahead(data):
            yield DataRead(source=data.source, done=step.done, total=step.total, waiting=step.waiting)
    check_demands((arm.recipe for arm in study.arms), [claim.metric for claim in study.comparisons])


def study_user_paths(study: Study) -> tuple[str, ...]:
    """The dotted paths of all the user's own classes in a study, each once."""
    return tuple(dict.fromkeys(path for arm in study.arms for path in user_paths(arm.recipe)))


def run_trial(
    recipe: Recipe, *, device: str, store: Path | None = None, checkpoint_every: str = CHECKPOINT_EVERY
) -> Run:
    """Train one recipe: what executors are handed.

    Args:
        recipe: what to train.
        device: ``auto`` is a CUDA GPU if there is one, else the CPU.
        store: whose work folders hold checkpoints, and tell how far a run has come; None leaves both out.
        checkpoint_every: how often one is written.
    """
    import torch

    from assay.training.checkpoint import Checkpoints
    from assay.training.run import run_recipe

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    recipe = settled(recipe, device)
    # A worker trains many runs. One whose data or weights have changed since the study began gets another name than was
    # asked for, and so is refused, rather than kept as what it is not.
    name = fingerprint_now(recipe)
    if store is None:
        return run_recipe(recipe, fingerprint=name, device=device)
    keeper = FolderStore(store)
    checkpoints = Checkpoints(keeper.checkpoint_file(name), Every.parse(checkpoint_every))
    tell = functools.partial(keeper.tell, name)
    return run_recipe(recipe, fingerprint=name, device=device, checkpoints=checkpoints, tell=tell)


def make_executor(study: Study, settings: Settings) -> Executor:
    """The executor the settings ask for. Called once something is to be computed; cached studies never get here."""
    if settings.device not in ("auto", "cpu"):
        from assay.training.isolation import torch_device

        torch_device(settings.device)  # found missing here once, rather than by every run
    _check_models(study)
    trial: Callable[[Recipe], Run] = functools.partial(
        run_trial,
        device=settings.device,
        store=Path(settings.store).absolute(),
        checkpoint_every=settings.checkpoint_every,
    )
    if settings.executor == "inline":
        from assay.studies.executors.inline import InlineExecutor

        return InlineExecutor(trial, time_limit=settings.time_limit)
    from assay.data.load import forget_source
    from assay.studies.executors.processes import ProcessExecutor

    forget_source()  # workers read it themselves
    return ProcessExecutor(trial, jobs=jobs_for(study, settings.jobs), time_limit=settings.time_limit, set_up=warm_up)


def warm_up() -> None:
    """Import what every trial needs, so that the first one of a worker is as quick as the rest."""
    import assay.training.run  # noqa: F401
    from assay.training.memory import keep_freed_memory

    keep_freed_memory()


def jobs_for(study: Study, asked: int | None) -> int:
    """How many runs to train side by side: their threads together never exceed the cores."""
    if study.times_runs:
        return 1  # runs that are timed must not disturb each other
    threads = max(arm.recipe.train.threads for arm in study.arms)
    most = max(1, available_cores() // threads)
    return most if asked is None else min(asked, most)


def _check_models(study: Study) -> None:
    """Build each network of a study once, so that what does not fit is found at the start, and not after the runs
    before it, by every seed."""
    checked = set()
    for arm in study.arms:
        recipe, paths = arm.recipe, user_paths(arm.recipe)
        built = recipe.model_dump_json(exclude={"loss", "optimizer", "schedule", "averaging"})
        rates = (recipe.optimizer.name, *recipe.optimizer.lr_factors)
        if (built, rates) in checked or _surely_fits(recipe):
            continue
        checked.add((built, rates))
        from assay.training.describe import check_model

        explaining = explaining_own_code(" and ".join(paths)) if paths else contextlib.nullcontext()
        with _naming(arm.name if len(study.arms) > 1 else ""), explaining:
            check_model(recipe)


def _surely_fits(recipe: Recipe) -> bool:
    """Whether a model need not be built to be known to fit: those of first studies, which so wait for no torch."""
    if user_paths(recipe) or recipe.pretrained.weights or recipe.freeze.active:
        return False
    asks_more = bool(recipe.optimizer.lr_factors or recipe.train.smaller_first) or recipe.optimizer.name == "muon"
    return isinstance(recipe.model, MlpModel | LeNet5Model | FittedAtOnce) and not asks_more


@contextlib.contextmanager
def _naming(arm: str) -> Generator[None, None, None]:
    """Say in which arm a value is wrong, where there are several."""
    try:
        yield
    except InvalidValueError as error:
        if not arm:
            raise
        raise InputError(f"arm {arm}: {error}") from error


# --- reporting --------------------------------------------------------------------------------------------------------


def report(results: StudyResults | Study | str, store: str | os.PathLike[str] | None = None) -> Path:
    """Write the lab report of a study and return the page's path.

    Args:
        results: what `run` returned, or a study or the name of one that the store holds.
        store: the folder of the run store; by default the one that `run` kept the results in, else ``assay-runs``.

    Raises:
        InputError: the store holds no such study.
        StoreError: a file of it is damaged, or the report cannot be written.
    """
    from assay.reports.writer import write

    if not isinstance(results, StudyResults | Study | str):
        raise InputError(f"report needs what run returned, a Study, or a study's name, got {shown(results)}.")

    if store is None:
        store = (results.store if isinstance(results, StudyResults) else None) or DEFAULT_STORE
    keeper = FolderStore(Path(store))
    if not isinstance(results, StudyResults):
        results = kept_results(results if isinstance(results, str) else results.name, keeper)
    return write(results, keeper.study_folder(results.study.name))
