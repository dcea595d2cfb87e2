"""Weights that torchvision publishes of its classifiers: which file, from where, and whether it is that file.

Each file's name ends in the first digits of its SHA-256. ``$ASSAY_MIRROR`` replaces the official address: below it the
files lie in ``torchvision``.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from assay.data.fetch import MIRROR_VARIABLE, SECONDS_OF_SILENCE, quiet_pooch, reason_of
from assay.data.places import cache_folder, is_file
from assay.data.weight_files import WEIGHTS_VARIABLE, WeightFile, downloaded_weights, identified, weight_folders
from assay.errors import DataError, InvalidValueError, did_you_mean

_NAME = re.compile(r"[\w.\-]+-([0-9a-f]{8,64})\.pth")
_PIECE = 2**17


def published_file(model: str) -> WeightFile:
    """The best weights torchvision publishes of a classifier, from one of the weight folders, or downloaded.

    Safe under two processes: the second waits for the first, and finds what it downloaded.

    Args:
        model: torchvision's name, such as ``squeezenet1_1``.

    Raises:
        InvalidValueError: torchvision has no such classifier, or publishes no weights of it.
        DataError: the file found is another one than its name says, or it cannot be downloaded.
    """
    address = _remembered_address(model)
    name = address.rpartition("/")[2]
    for folder in weight_folders():
        if is_file(folder / name):
            return _checked(identified(folder / name))
    return _downloaded(address, downloaded_weights() / name)


def address_of(model: str) -> str:
    """Where torchvision publishes its best weights of a classifier. Imports torchvision, and with it torch.

    Raises:
        InvalidValueError: torchvision has no such classifier, or publishes no weights of it.
    """
    from torchvision import models

    names = models.list_models(module=models)
    if model not in names:
        raise InvalidValueError(
            ("model", "name"),
            f"must name a classifier of torchvision, got torchvision:{model}.",
            did_you_mean(f"torchvision:{model}", [f"torchvision:{name}" for name in names]),
        )
    address = str(models.get_model_weights(model).DEFAULT.url)
    if not _NAME.fullmatch(address.rpartition("/")[2]):
        raise InvalidValueError(
            ("pretrained", "weights"), f"torchvision publishes none of {model} whose file tells its SHA-256."
        )
    return address


def _remembered_address(model: str) -> str:
    """The same from memory, for the torchvision installed: asking it takes a second, and cached studies ask, too."""
    installed, file = version("torchvision"), cache_folder() / "torchvision-weights.json"
    addresses: dict[str, str] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):
        memory = json.loads(file.read_bytes())
        if memory["torchvision"] == installed:
            addresses = {str(name): str(address) for name, address in memory["addresses"].items()}
    known = addresses.get(model, "")
    if _NAME.fullmatch(known.rpartition("/")[2]):
        return known
    addresses[model] = address_of(model)
    aside = file.with_suffix(f".{os.getpid()}.tmp")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps({"torchvision": installed, "addresses": addresses}), encoding="utf-8")
        aside.replace(file)
    return addresses[model]


def _checked(file: WeightFile) -> WeightFile:
    """The file, if its content has the SHA-256 that its name tells."""
    named = _NAME.fullmatch(file.path.name)
    if named is None or not file.sha256.startswith(named[1]):
        raise DataError(
            f"{file.path} is not what torchvision publishes under that name: its SHA-256 begins with "
            f"{file.sha256[:8]}. Move it away to have it downloaded again."
        )
    return file


def _downloaded(address: str, target: Path) -> WeightFile:
    import pooch
    import requests
    from filelock import FileLock

    mirror = os.environ.get(MIRROR_VARIABLE)
    source = f"{mirror.rstrip('/')}/torchvision/{target.name}" if mirror else address
    aside = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")), quiet_pooch():
            if not is_file(target):  # else another process downloaded it meanwhile
                get = pooch.HTTPDownloader(chunk_size=_PIECE, timeout=SECONDS_OF_SILENCE)
                get(source, str(aside), None)
                _put_in_place(aside, target, source)
    except requests.RequestException as error:
        if error.response is not None:
            error.response.close()  # pooch leaves the connection of a refused request open
        raise _cannot_download(source, target, reason_of(error)) from error
    except OSError as error:
        raise _cannot_download(source, target, error.strerror or str(error)) from error
    return _checked(identified(target))


def _put_in_place(aside: Path, target: Path, source: str) -> None:
    named = _NAME.fullmatch(target.name)
    sha256 = identified(aside).sha256 if aside.stat().st_size else ""
    if named is None or not sha256.startswith(named[1]):
        aside.unlink()
        what = f"another file: its SHA-256 begins with {sha256[:8]}" if sha256 else "an empty file"
        raise _cannot_download(source, target, f"what came is {what}")
    aside.replace(target)


def _cannot_download(source: str, target: Path, why: str) -> DataError:
    return DataError(
        f"{target.name} could not be downloaded from {source}: {why}.\n"
        f"  Try again later, or set ${MIRROR_VARIABLE} to an address that has it.\n"
        f"  Or get it on another computer and put it into {target.parent}, or a folder of ${WEIGHTS_VARIABLE}."
    )
