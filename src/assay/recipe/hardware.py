"""``train.precision: auto``, settled from what the hardware multiplies at once, before a run gets its name.

On a CPU the flags of the kernel are read, so that a study found whole in the store loads no framework.
"""

from __future__ import annotations

import functools
import platform
import re
from pathlib import Path

from assay.recipe.schema import Precision, Recipe

_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""x86: dot products of bfloat16 in vector registers or tiles; Arm: the bfloat16 extension."""
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def settled(recipe: Recipe, device: str = "cpu") -> Recipe:
    """The recipe with a precision that is a type of numbers.

    Args:
        recipe: of any precision.
        device: what the run is to be trained on: ``auto`` is a GPU if there is one.
    """
    if recipe.train.precision != "auto":
        return recipe
    train = recipe.train.model_copy(update={"precision": best_precision(device)})
    return recipe.model_copy(update={"train": train})


@functools.cache
def best_precision(device: str) -> Precision:
    """bfloat16 where the device has instructions for it, float16 on a GPU that has only these, else float32."""
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return "bfloat16" if _CPU_FLAGS & cpu_flags() else "float32"
    return _of_gpu(device)


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The instruction sets of this machine's first CPU, as Linux names them; none where that cannot be read."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def _may_have_gpu() -> bool:
    return platform.system() == "Windows" or _NVIDIA_DRIVER.exists()


def _of_gpu(device: str) -> Precision:
    from importlib import import_module

    torch = import_module("torch")  # the recipe room is free of it, but for this question to a GPU
    if not torch.cuda.is_available():
        return best_precision("cpu")
    index = torch.device("cuda" if device == "auto" else device).index
    major, _ = torch.cuda.get_device_capability(index)
    return "bfloat16" if major >= 8 else "float16" if major >= 7 else "float32"
