"""With which numbers, and in which memory layout, a network computes.

Mixed precision: Micikevicius et al. 2017, arXiv:1710.03740; bfloat16: Kalamkar et al. 2019, arXiv:1905.12322. Products
and convolutions are in 16 bits, weights, sums and losses in 32. With float16, whose smallest numbers are larger, the
loss is scaled up before gradients are taken, by a factor that halves when one is not finite.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from assay.recipe.schema import Precision, Train
from assay.training.state import State

_SIXTEEN_BITS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def number_type(precision: Precision) -> torch.dtype:
    """Of weights and inputs: that of 16-bit precisions is float32, which is cast as it is used."""
    return torch.float64 if precision == "float64" else torch.float32


class Arithmetic:
    """How one network computes on one device."""

    def __init__(self, train: Train, device: torch.device) -> None:
        if train.precision == "auto":
            raise ValueError("train.precision auto is to be settled before a run starts.")
        self.device = device
        self._number_type = number_type(train.precision)
        self._cast_to = _SIXTEEN_BITS.get(train.precision)
        self._channels_last = train.channels_last
        self._scaler = torch.amp.GradScaler(device.type) if train.precision == "float16" else None

    @property
    def sixteen_bits(self) -> bool:
        """Whether products are computed in 16 bits."""
        return self._cast_to is not None

    def prepared(self, model: nn.Module) -> nn.Module:
        """The model on the device, its weights in the type and layout."""
        model.to(device=self.device, dtype=self._number_type)
        if self._channels_last:
            model.to(memory_format=torch.channels_last)
        return model

    def inputs(self, x_B: Tensor) -> Tensor:
        """A batch in the layout."""
        if self._channels_last and x_B.ndim == 4:
            return x_B.contiguous(memory_format=torch.channels_last)
        return x_B

    def computing(self) -> AbstractContextManager[object]:
        """Within this, a network computes in 16 bits if asked to."""
        if self._cast_to is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self._cast_to)

    def scores(self, model: nn.Module, x_B: Tensor) -> Tensor:
        """What the model gives for a batch: logits (B, K), in at least 32 bits."""
        with self.computing():
            logits_BK: Tensor = model(self.inputs(x_B))
        return logits_BK.float() if logits_BK.dtype in (torch.bfloat16, torch.float16) else logits_BK

    def backward(self, minimised: Tensor, optimizer: Optimizer) -> None:
        """Take gradients; afterwards they are those of ``minimised`` itself, or not finite."""
        if self._scaler is None:
            minimised.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        else:
            self._scaler.scale(minimised).backward()  # type: ignore[no-untyped-call]
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer) -> None:
        """Let the optimizer step, unless scaled gradients were not finite: then only the scale is lowered."""
        if self._scaler is None:
            optimizer.step()
        else:
            self._scaler.step(optimizer)
            self._scaler.update()

    def state(self) -> State:
        return State(facts={} if self._scaler is None else {"scaler": self._scaler.state_dict()})

    def restore(self, state: State) -> None:
        if self._scaler is not None:
            self._scaler.load_state_dict(dict(state.facts["scaler"]))
