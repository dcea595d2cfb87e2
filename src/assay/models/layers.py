"""Activations, normalisation and dropout, as assay's own networks use them.

Shape key: B examples in the batch; a hidden layer's output is (B, units) or (B, channels, height, width).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from assay.recipe.schema import Activation, DropoutForm, Norm
from assay.recipe.streams import keep_mask, stream, stream_key

LEAK = 0.01
"""Slope of leaky ReLU below 0."""

_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": partial(nn.LeakyReLU, LEAK),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "swish": nn.SiLU,
}

NORM_LAYERS: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)
"""Layers whose parameters are neither initialised as weights nor penalised. ``_NormBase`` is every batch and instance
norm; torch has no public name for it."""


def activation_layer(name: Activation) -> nn.Module:
    """The layer of that name.

    Leaky ReLU is max(x, 0.01·x) (Maas et al. 2013, "Rectifier nonlinearities improve neural network acoustic models");
    GELU is the exact one (Hendrycks and Gimpel 2016, arXiv:1606.08415); swish is x·σ(x) (Ramachandran et al. 2017,
    arXiv:1710.05941).
    """
    return _ACTIVATIONS[name]()


def norm_layer(norm: Norm, features: int, *, image: bool) -> nn.Module | None:
    """The normalisation of a layer's output before its activation, or None.

    Batch normalisation is Ioffe and Szegedy 2015, arXiv:1502.03167, per unit or per channel. Layer normalisation is Ba
    et al. 2016, arXiv:1607.06450, over all values of one example; for images it has a gain and a bias per channel.
    """
    if norm == "none":
        return None
    if norm == "batch":
        return nn.BatchNorm2d(features) if image else nn.BatchNorm1d(features)
    return nn.GroupNorm(1, features) if image else nn.LayerNorm(features)


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) whose masks come from the seed's dropout stream.

    In training each value is set to 0 with probability p. So that its expectation is the same in evaluation,
    ``inverted`` divides what is kept by 1 − p in training, while ``vanilla``, as in the paper, leaves that as it is,
    and multiplies everything by 1 − p in evaluation. With one seed both forms drop the same values.

    The probability is exact to 2⁻³². On the CPU the masks are those of ``stream(seed, "dropout", layer)``, two 32-bit
    numbers of each 64-bit draw; on other devices those of a torch.Generator seeded from the same stream.
    """

    def __init__(self, p: float, *, seed: int, layer: str, form: DropoutForm = "inverted") -> None:
        super().__init__()
        self.p = p
        self.form = form
        self.seed = seed
        self.layer = layer
        self._bits = stream(seed, "dropout", layer).bit_generator
        self._device_seed = stream_key(seed, "dropout", layer) % 2**63
        self._device_generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0.0:
            return x
        if not self.training:
            return x if self.form == "inverted" else x * (1.0 - self.p)
        return x * self._mask(x)

    def _mask(self, x: Tensor) -> Tensor:
        scale = 1.0 / (1.0 - self.p) if self.form == "inverted" else 1.0
        if x.device.type == "cpu":
            dtype = np.float64 if x.dtype == torch.float64 else np.float32
            kept = keep_mask(self._bits, tuple(x.shape), self.p)
            return torch.from_numpy(np.multiply(kept, scale, dtype=dtype)).to(x.dtype)
        if x.device.type == "meta":  # nothing is computed there, so nothing is drawn
            return torch.empty_like(x)
        if self._device_generator is None:
            self._device_generator = torch.Generator(x.device).manual_seed(self._device_seed)
        uniform = torch.rand(x.shape, generator=self._device_generator, device=x.device)
        return (uniform >= self.p).to(x.dtype).mul_(scale)

    def extra_repr(self) -> str:
        return f"p={self.p}, form={self.form}"
