"""Users' own model and data classes, named by dotted path: ``package.module:Class``.

A path is code that will be imported, so it must lead outside the standard library and outside the running program, and
to a class; what kind of class is checked by whoever builds it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from assay.errors import InputError, did_you_mean
from assay.recipe.schema import FOREIGN_PACKAGES, Recipe, UserData, UserModel

_loaded: dict[str, str] = {}
"""Source hash of each module when it was last imported here."""


def user_paths(recipe: Recipe) -> tuple[str, ...]:
    """The dotted paths a recipe names, in the order data, model."""
    paths = []
    if isinstance(recipe.data, UserData):
        paths.append(recipe.data.source)
    if isinstance(recipe.model, UserModel):
        paths.append(recipe.model.name)
    return tuple(paths)


def look_in(folder: Path) -> None:
    """Find modules in this folder too, after those found already, however assay was started."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def check_path(path: str) -> None:
    """Refuse a path that leads into the standard library or another program, without importing anything.

    Raises:
        InputError: the path is refused, or no such module can be found.
    """
    _source_file(path)


def source_hash(path: str) -> str:
    """SHA-256 of the source file that defines the class, so that editing it starts new runs.

    Imports parent packages only. Changes in other files that the class imports are not seen; give the class another
    name when those change what it computes.
    """
    return hashlib.sha256(_source_file(path).read_bytes()).hexdigest()


def resolve_class(path: str) -> type[Any]:
    """Import the module and return the class; import it anew if its file was edited since this was last called.

    Raises:
        InputError: the path is refused, the module cannot be imported, or what it names is not a class defined there.
    """
    digest = source_hash(path)
    module_name, _, class_name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
        if _loaded.setdefault(module_name, digest) != digest:
            module = importlib.reload(module)  # else an edited class would be trained as it was, under its new name
            _loaded[module_name] = digest
    except Exception as error:
        raise InputError(f"{path!r} cannot be imported: {type(error).__name__}: {error}") from error
    found = getattr(module, class_name, None)
    classes = [name for name, value in vars(module).items() if isinstance(value, type)]
    if found is None:
        hint = did_you_mean(class_name, classes) or "It defines no class."
        raise InputError(f"{path!r}: module {module_name} has no {class_name!r}. {hint}")
    if not isinstance(found, type):
        raise InputError(f"{path!r} must name a class, got a {type(found).__name__}.")
    if found.__module__.partition(".")[0] in FOREIGN_PACKAGES:
        raise InputError(f"{path!r} names a class of {found.__module__}; write a class of your own that wraps it.")
    return found


def _source_file(path: str) -> Path:
    module_name = path.partition(":")[0]
    top = module_name.partition(".")[0]
    if top in FOREIGN_PACKAGES:
        raise InputError(
            f"{path!r} leads into {top}, which is not yours: a dotted path must name a class in a module of your own."
        )
    look_in(Path.cwd())
    try:
        spec = importlib.util.find_spec(module_name)
    except ModuleNotFoundError:  # of a parent package
        spec = None
    except Exception as error:
        raise InputError(f"{path!r}: module {module_name} cannot be found: {error}") from error
    if spec is None:
        raise InputError(
            f"{path!r}: there is no module {module_name!r} beside the study, in {Path.cwd()}, or among the installed "
            "packages. Install it, or start assay in the folder that holds it."
        )
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise InputError(
            f"{path!r}: module {module_name} has no Python source file, so its runs could not be told apart."
        )
    return Path(spec.origin)
