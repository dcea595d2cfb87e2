"""Tensors by name from a file of weights: safetensors, or what torch saves, of which nothing is ever executed.

A file that torch saved is a pickle, and a pickle can run any code when it is read. It is read by torch's unpickler of
weights alone, which builds tensors and plain containers and refuses the rest.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from assay.errors import DataError

_NESTED = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "module", "weights", "params")
"""Keys under which checkpoints keep the weights beside other things."""
_DEEPEST = 3
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file by name, in the types they have there.

    Of a checkpoint that holds other things too, those under ``state_dict`` or another usual key.

    Raises:
        DataError: the file is damaged, holds other objects than weights, or no weights.
    """
    if path.suffix.lower() == ".safetensors":
        return _of_safetensors(path)
    loaded = _of_torch(path)
    tensors = _tensors_in(loaded, _DEEPEST)
    if not tensors:
        keys = f" but {', '.join(map(repr, list(loaded)[:8]))}" if isinstance(loaded, Mapping) and loaded else ""
        raise DataError(f"{path} holds no tensors by name{keys}. {_HOW_TO_SAVE}")
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise DataError(
                f"{path}: {name} must be an ordinary dense tensor, and is sparse, quantised or without values."
            )
    return tensors


_HOW_TO_SAVE = "Save the weights alone: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."


def _of_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise DataError(f"{path} is damaged, or no safetensors file: {_first_line(error)} {_COPY}") from error
    return tensors


def _of_torch(path: Path) -> Any:
    try:
        _refuse_compressed(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is refused below, or does not matter
            return torch.load(path, map_location="cpu", weights_only=True)
    except DataError:
        raise
    except pickle.UnpicklingError as error:
        if found := _GLOBAL.search(str(error)):
            raise DataError(
                f"{path} holds {found[1]}, and assay reads weights alone: other objects may run code when they are "
                f"read. {_HOW_TO_SAVE}"
            ) from error
        raise DataError(f"{path} is damaged, or was not saved by torch. {_COPY}") from error
    except Exception as error:
        # Of a KeyError and its like the text is the key alone, which says nothing.
        why = "" if isinstance(error, LookupError) else f": {_first_line(error)[:-1]}"
        raise DataError(f"{path} is damaged, or was not saved by torch{why}. {_COPY}") from error


_COPY = "Copy or download it again."


def _refuse_compressed(path: Path) -> None:
    """torch never compresses its archives, so what grows when it is unpacked is not one of them."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    size = path.stat().st_size
    if unpacked > size:
        raise DataError(f"{path} would unpack to {unpacked:,} bytes from {size:,}: torch saves weights uncompressed.")


def _tensors_in(loaded: Any, deepest: int) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping):
        return {}
    for key in _NESTED if deepest else ():
        if found := _tensors_in(loaded.get(key), deepest - 1):
            return found
    return {
        name: value.detach() for name, value in loaded.items() if isinstance(name, str) and isinstance(value, Tensor)
    }


def _first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0][:200] or type(error).__name__
    return text if text.endswith(".") else text + "."
