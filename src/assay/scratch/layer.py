"""What a layer is: two pure functions and the numbers that pass between them.

A layer is a frozen dataclass. Whatever decides its arithmetic (a stride, an epsilon) is a field; whatever it is applied
to (inputs, weights, masks that were drawn) is an argument, so nothing happens that cannot be read off the call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from assay.errors import InputError

Array = NDArray[Any]
"""float32 or float64; a layer computes in the type of its input and gives that type back."""

Cache = Any
"""What ``forward`` keeps for ``backward``; only the layer that made it looks inside."""

Mask = NDArray[np.bool_]


class Layer(Protocol):
    """``forward(x, …) -> (y, cache)`` and ``backward(dy, cache) -> (dx, …)``.

    ``backward`` gets the gradient of a scalar with respect to ``y`` and returns those with respect to ``forward``'s
    arguments, in their order, as a tuple; masks and labels, which have none, come last and are left out. Neither method
    writes to an array it was given, and a cache serves any number of backward passes.

    `assay.testing.layers.LayerContract` holds a layer of your own to this.
    """

    @property
    def forward(self) -> Callable[..., tuple[Array, Cache]]: ...

    @property
    def backward(self) -> Callable[..., tuple[Array, ...]]: ...


def demand_floats(layer: str, x: Array) -> None:
    """Refuse whole numbers where results are written in the type of the input, which would cut them off to whole ones.

    Raises:
        InputError: x is of another type than floats.
    """
    if x.dtype.kind != "f":
        raise InputError(f"{layer} needs floats, got {x.dtype}. Convert them first, as with x.astype(np.float64).")
