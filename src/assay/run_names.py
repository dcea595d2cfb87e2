"""The name of a run: the fingerprint of its recipe with the data, weights and classes that it stands on."""

from __future__ import annotations

import contextlib
import functools
import traceback
from collections.abc import Generator
from pathlib import Path

from assay.errors import AssayError, InputError
from assay.recipe.fingerprint import fingerprint
from assay.recipe.hardware import settled
from assay.recipe.schema import Recipe
from assay.recipe.user_code import source_hash, user_paths
from assay.studies.design import Study


def fingerprints_of(study: Study, seeds: int, device: str = "auto") -> dict[str, dict[int, str]]:
    """The fingerprint of each arm's first ``seeds`` runs, by arm and seed."""
    return {
        arm.name: {recipe.seed: fingerprint_of(recipe, device) for recipe in map(arm.recipe_at, range(seeds))}
        for arm in study.arms
    }


def fingerprint_of(recipe: Recipe, device: str = "auto") -> str:
    """The fingerprint of a recipe: of its keys, its data set, the weights it starts from, and the user's own classes.

    What was found of files is remembered until `forget_fingerprints`. The device matters to ``train.precision: auto``
    alone, which is settled by what it can do.
    """
    recipe = settled(recipe, device)
    place = recipe.pretrained.weights
    weights = None if place is None else _weights_hash(place, recipe.model.name)
    sources = {path: _source_hash(path) for path in user_paths(recipe)}
    return fingerprint(recipe, _data_fingerprint(recipe.data.model_dump_json()), sources, weights=weights)


def fingerprint_now(recipe: Recipe) -> str:
    """The same for a recipe of settled precision, by what its data and weights are at this moment."""
    place = recipe.pretrained.weights
    weights = None if place is None else _weights_hash_now(place, recipe.model.name)
    sources = {path: _source_hash(path) for path in user_paths(recipe)}
    return fingerprint(recipe, _data_fingerprint_now(recipe.data.model_dump_json()), sources, weights=weights)


def forget_fingerprints() -> None:
    """Files may have changed since this process conducted its last study, or lie in another folder now."""
    _data_fingerprint.cache_clear()
    _source_hash.cache_clear()
    _weights_hash.cache_clear()


def _data_fingerprint_now(data_json: str) -> str:
    from assay.data.load import source_fingerprint

    data = Recipe.model_validate_json(f'{{"data": {data_json}, "model": {{"name": "mlp"}}}}').data
    with explaining_own_code(data.source):
        return source_fingerprint(data)


def _weights_hash_now(place: str, model: str) -> str:
    from assay.data.weight_files import weight_file

    return weight_file(place, model).sha256


_data_fingerprint = functools.lru_cache(maxsize=1024)(_data_fingerprint_now)
_weights_hash = functools.lru_cache(maxsize=256)(_weights_hash_now)
_source_hash = functools.lru_cache(maxsize=256)(source_hash)


@contextlib.contextmanager
def explaining_own_code(path: str) -> Generator[None, None, None]:
    """Turn whatever a class of the user's own raises, exits among it, into an error that names the line."""
    try:
        yield
    except AssayError:
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        libraries = {"site-packages", "dist-packages"}
        frame = next((one for one in reversed(frames) if not libraries & {*Path(one.filename).parts}), frames[-1])
        text = " ".join(str(error).split())
        raise InputError(
            f"{path} cannot be used: it raised {type(error).__name__}: {text[:300]}\n"
            f"  in {frame.filename}, line {frame.lineno}. Mend it and run again; nothing was started."
        ) from error
