"""Studies as a store keeps them: what was asked, and which runs answer it.

    study.yaml   the study as resolved, overrides included
    runs.json    the file it came from, and the fingerprint of every run by arm and seed

With these a report can be rebuilt from the store alone, without data, training framework or the study's own file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.errors import InputError, InvalidValueError, StoreError, did_you_mean
from assay.recipe.reading import dump, parse
from assay.records import FailedRun
from assay.studies.design import Study
from assay.studies.results import StudyResults
from assay.studies.store.contract import Store, StoredRun
from assay.studies.verdicts import judge

STUDY_FILE = "study.yaml"
RUNS_FILE = "runs.json"
_RUN_AGAIN = "Run the study's own file again to have it written anew; runs are not lost."


def keep_study(study: Study, store: Store) -> None:
    """Keep a study before it is conducted.

    Raises:
        InputError: another study file has the same name in this store.
        StoreError: the store cannot be read or written.
    """
    owner = _kept_runs(study.name, store).get("source")
    if owner and study.source and owner != study.source and _differ(Path(owner), Path(study.source)):
        raise InputError(
            f"study name {study.name!r} is taken in this store by {owner}. Give one of the two another name: key, "
            "or choose another --store."
        )
    files = {STUDY_FILE: dump(study.resolved())}
    if store.study_file(study.name, RUNS_FILE) is None:
        files[RUNS_FILE] = _runs_text(study, {})
    store.save_study(study.name, files)


def keep_fingerprints(study: Study, fingerprints: Mapping[str, Mapping[int, str]], store: Store) -> None:
    """Keep which runs a study stands on, by arm and seed."""
    store.save_study(study.name, {RUNS_FILE: _runs_text(study, fingerprints)})


def kept_study(name: str, store: Store) -> Study:
    """A study as it was kept.

    Raises:
        InputError: the store holds no such study.
        StoreError: its file is missing, damaged, or of a version that this one cannot read.
    """
    text = store.study_file(name, STUDY_FILE)
    if text is None:
        names = store.studies()
        if name in names:
            raise StoreError(f"{STUDY_FILE} of study {name!r} is missing. {_RUN_AGAIN}")
        known = did_you_mean(name, names) if names else "It holds no study yet: start with `assay run FILE`."
        raise InputError(f"the store holds no study {name!r}. {known}")
    try:
        data, _ = parse(text, STUDY_FILE)
        study = Study.model_validate(data)
    except InvalidValueError as error:
        raise StoreError(f"{STUDY_FILE} of study {name!r} cannot be used: {error}\n  {_RUN_AGAIN}") from error
    if study.name != name:
        raise StoreError(f"{STUDY_FILE} of study {name!r} is of study {study.name!r}. {_RUN_AGAIN}")
    return study.read_from(_kept_runs(name, store).get("source"))


def kept_results(name: str, store: Store) -> StudyResults:
    """A study with whatever the store holds of it, judged anew. Trains nothing and needs no data.

    Raises:
        InputError: the store holds no such study.
        StoreError: a file of it is damaged, or of a version that this one cannot read.
    """
    study = kept_study(name, store)
    kept = _kept_runs(name, store).get("fingerprints", {})
    fingerprints = {arm.name: {int(seed): f for seed, f in kept.get(arm.name, {}).items()} for arm in study.arms}
    runs: dict[str, dict[int, StoredRun]] = {arm.name: {} for arm in study.arms}
    failures: dict[str, dict[int, FailedRun]] = {arm.name: {} for arm in study.arms}
    for arm, by_seed in fingerprints.items():
        for seed, fingerprint in by_seed.items():
            run = store.get(fingerprint)
            failure = None if run else store.failure(fingerprint)
            if run:
                runs[arm][seed] = run
            elif failure:
                failures[arm][seed] = failure
    claims = judge(
        study.comparisons,
        runs,
        failures,
        first_seeds={arm.name: arm.first_seed for arm in study.arms},
        at_least=study.seeds.at_least,
        at_most=study.seeds.at_most,
    )
    return StudyResults(study=study, runs=runs, failures=failures, claims=claims, fingerprints=fingerprints)


def find_run(name: str, store: Store) -> StoredRun:
    """A run by the name a person gives it: the beginning of its fingerprint, or ``study:arm:seed``.

    Raises:
        InputError: there is no such run, or several fingerprints begin so.
        StoreError: a file of it is damaged.
    """
    if ":" in name:
        return _run_of_study(name, store)
    found = [fingerprint for fingerprint in store.fingerprints() if name and fingerprint.startswith(name)]
    if len(found) == 1 and (run := store.get(found[0])) is not None:
        return run
    if found:
        shown = ", ".join(fingerprint[: len(name) + 6] for fingerprint in found[:5])
        raise InputError(
            f"run {name!r} could be any of {len(found)}: {shown}{', …' if len(found) > 5 else ''}. Give more of it."
        )
    raise InputError(
        f"the store holds no run {name!r}. Name one by the beginning of its fingerprint, or as study:arm:seed; a "
        "report lists them under Every run."
    )


def _run_of_study(name: str, store: Store) -> StoredRun:
    study_name, _, rest = name.partition(":")
    arm, _, seed = rest.rpartition(":")
    study = kept_study(study_name, store)
    arms = [known.name for known in study.arms]
    if arm not in arms:
        raise InputError(f"study {study_name!r} has no arm {arm!r}. {did_you_mean(arm, arms)}")
    by_seed = _kept_runs(study_name, store).get("fingerprints", {}).get(arm, {})
    run = store.get(by_seed[seed]) if seed in by_seed else None
    if run is None:
        stored = [known for known, fingerprint in by_seed.items() if store.get(fingerprint) is not None]
        held = f"It holds seeds {', '.join(stored[:20])}." if stored else "It holds none of it yet."
        raise InputError(f"the store holds no run of study {study_name!r}, arm {arm!r}, at seed {seed!r}. {held}")
    return run


def _differ(owner: Path, other: Path) -> bool:
    """Whether the file that owns a name still exists, and says something else: not merely moved or copied."""
    return owner.is_file() and owner.read_bytes() != other.read_bytes()


def _runs_text(study: Study, fingerprints: Mapping[str, Mapping[int, str]]) -> str:
    content = {"source": study.source, "fingerprints": fingerprints}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _kept_runs(name: str, store: Store) -> dict[str, Any]:
    text = store.study_file(name, RUNS_FILE)
    if text is None:
        return {}
    try:
        kept = json.loads(text)
    except (ValueError, RecursionError):
        kept = None
    if not _is_kept_runs(kept):
        raise StoreError(
            f"{RUNS_FILE} of study {name!r} is damaged. Remove it and run the study's file again; runs are not lost."
        )
    found: dict[str, Any] = kept
    return found


def _is_kept_runs(kept: Any) -> bool:
    """Whether this is what `_runs_text` writes: a file or none, and for each arm a run's name by seed."""
    if not isinstance(kept, dict) or not isinstance(kept.get("source"), str | None):
        return False
    arms = kept.get("fingerprints", {})
    return isinstance(arms, dict) and all(
        isinstance(runs, dict) and all(seed.isdecimal() and _is_name(name) for seed, name in runs.items())
        for runs in arms.values()
    )


def _is_name(fingerprint: Any) -> bool:
    return isinstance(fingerprint, str) and fingerprint.isalnum() and fingerprint.isascii()
