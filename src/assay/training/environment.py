"""What a run was made on and with."""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch


def environment(device: torch.device, fitted_by: Iterable[str] = ()) -> dict[str, str]:
    """Versions and hardware as text: assay, python, torch, numpy, pillow, platform, processor, device.

    Args:
        device: where tensors lay.
        fitted_by: further packages that decided the numbers.
    """
    facts = {**_facts(), **{package: version(package) for package in fitted_by}, "device": device.type}
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


@functools.cache
def _facts() -> dict[str, str]:
    return {
        "assay": version("assay"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": version("pillow"),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
    }


def _cpu_name() -> str:
    """The processor's name. Linux tells it in a file; elsewhere the platform module does."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
