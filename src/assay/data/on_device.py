"""Raw examples where training wants them: on the device if they fit, taken by position, normalised as they are taken.

Shape key: N examples of the data source, B examples in a batch; an input is (C, H, W) or (D,).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.data.normalize import Preprocessing
from assay.records import Array

_SHARE_OF_DEVICE = 0.5
"""Share of a GPU's free memory that raw examples may take; beyond it they stay in main memory."""


class RawExamples:
    """All examples of a data source: in main memory, memory-mapped, or on a GPU when they fit there."""

    def __init__(self, inputs: Array, device: torch.device) -> None:
        self._inputs = inputs
        self._device = device
        self._resident: Tensor | None = None
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if inputs.nbytes <= _SHARE_OF_DEVICE * free:
                self._resident = torch.tensor(np.ascontiguousarray(inputs), device=device)  # inputs are read-only

    def take(self, positions_B: NDArray[np.int64]) -> Tensor:
        """A copy of the examples at these positions, (B, C, H, W) or (B, D), on the device."""
        if self._resident is not None:
            return self._resident.index_select(0, torch.from_numpy(positions_B).to(self._device))
        if self._inputs.flags.c_contiguous:
            found = np.take(self._inputs, positions_B, axis=0)
        else:  # of which np.take would copy the whole
            found = np.ascontiguousarray(self._inputs[positions_B])
        taken = torch.from_numpy(found)
        return taken if self._device.type == "cpu" else taken.pin_memory().to(self._device, non_blocking=True)


class ChangedExamples:
    """Raw examples, changed as they are taken; their shape stays."""

    def __init__(self, raw: RawExamples | ChangedExamples, change: Callable[[Tensor], Tensor]) -> None:
        self._raw = raw
        self._change = change

    def take(self, positions_B: NDArray[np.int64]) -> Tensor:
        """The changed examples at these positions, (B, C, H, W) or (B, D), on the device."""
        return self._change(self._raw.take(positions_B))


class Normalizer:
    """Applies a `Preprocessing` to tensors, computing in the dtype of the network's inputs."""

    def __init__(self, preprocessing: Preprocessing, *, dtype: torch.dtype, device: torch.device) -> None:
        scale, shift = preprocessing.affine()
        self.dtype = dtype
        self._scale = torch.from_numpy(scale).to(device, dtype)
        self._unit_scale = torch.from_numpy(scale * preprocessing.facts["divide_by"]).to(device, dtype)
        self._shift = torch.from_numpy(shift).to(device, dtype)
        self._output_shape = preprocessing.output_shape
        whitening_DD = preprocessing.whitening
        self._whitening_DD: Tensor | None = None
        if whitening_DD is not None:
            self._whitening_DD = torch.tensor(whitening_DD, dtype=dtype, device=device)  # a stored one is read-only

    def __call__(self, x: Tensor) -> Tensor:
        """Raw inputs, uint8 images or float32 points; or images already divided by 255, of a floating type."""
        scale = self._scale if x.dtype == torch.uint8 or x.ndim == 2 else self._unit_scale
        normalised = x.to(self.dtype, copy=True).mul_(scale).add_(self._shift)
        if self._whitening_DD is None:
            return normalised
        return (normalised.flatten(1) @ self._whitening_DD).view(len(x), *self._output_shape)
