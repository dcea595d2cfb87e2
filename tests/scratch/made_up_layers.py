"""Small layers to check the checks with: functions of each value, and one layer gone wrong in many ways.

Shape key: B examples in the batch, D features per example.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Elementwise:
    """A function of each value, and the derivative that its backward pass uses."""

    function: object
    derivative: object

    def forward(self, x):
        return self.function(x), x

    def backward(self, dy, cache):
        return (dy * self.derivative(cache),)


RELU = Elementwise(lambda x: np.maximum(x, 0), lambda x: x > 0)


@dataclass(frozen=True, kw_only=True)
class ScaledTanh:
    """gain·tanh(x): small, and with everything in it that can go wrong."""

    def forward(self, x_BD, gain_D):
        t_BD = np.tanh(x_BD)
        return t_BD * gain_D, (t_BD, gain_D)

    def backward(self, dy_BD, cache):
        t_BD, gain_D = cache
        return dy_BD * gain_D * (1 - t_BD * t_BD), (dy_BD * t_BD).sum(axis=0)


class SlightlyWrong(ScaledTanh):
    def backward(self, dy, cache):
        dx, dgain = super().backward(dy, cache)
        return dx * (1 + 1e-6), dgain


class DropsATerm(ScaledTanh):
    def backward(self, dy, cache):
        t, gain = cache
        return dy * gain, (dy * t).sum(axis=0)


class LeaksFloat64FromForward(ScaledTanh):
    def forward(self, x, gain):
        y, cache = super().forward(x, gain)
        return y.astype(np.float64), cache


class LeaksFloat64FromBackward(ScaledTanh):
    def backward(self, dy, cache):
        dx, dgain = super().backward(dy, cache)
        return dx, dgain.astype(np.float64)


class ComputesInHalfPrecision(ScaledTanh):
    def forward(self, x, gain):
        y, cache = super().forward(x, gain)
        return y if x.dtype == np.float64 else y.astype(np.float16).astype(x.dtype), cache


class WritesToItsArgument(ScaledTanh):
    def forward(self, x, gain):
        t = np.tanh(x, out=x)
        return t * gain, (t, gain)


class WritesToDy(ScaledTanh):
    def backward(self, dy, cache):
        dx, dgain = super().backward(dy, cache)
        dy *= 2
        return dx, dgain


class WritesToItsCache(ScaledTanh):
    def backward(self, dy, cache):
        gradients = super().backward(dy, cache)
        cache[0][...] = 0
        return gradients


class WritesToY(ScaledTanh):
    def forward(self, x, gain):
        y, (t, gain) = super().forward(x, gain)
        return y, (t, gain, [y])

    def backward(self, dy, cache):
        t, gain, (y,) = cache
        y += 1
        return super().backward(dy, (t, gain))


@dataclass(frozen=True, kw_only=True)
class Kept:
    parts: object


@dataclass(frozen=True, kw_only=True)
class CountsPasses(ScaledTanh):
    """Writes to its cache what changes no gradient; still, two threads could not share it."""

    wrapped: object

    def forward(self, x, gain):
        y, cache = super().forward(x, gain)
        return y, self.wrapped([*cache, np.zeros(1)])

    def backward(self, dy, cache):
        t, gain, passes = (
            cache.parts if isinstance(cache, Kept) else cache["parts"] if isinstance(cache, dict) else cache
        )
        passes += 1
        return super().backward(dy, (t, gain))


class UsesUpItsCache(ScaledTanh):
    class Box:
        """Holds what the suite cannot look into."""

    def forward(self, x, gain):
        y, (t, gain) = super().forward(x, gain)
        box = self.Box()
        box.t = t.copy()
        return y, (box, gain)

    def backward(self, dy, cache):
        box, gain = cache
        gradients = super().backward(dy, (box.t, gain))
        box.t *= 0.5
        return gradients


@dataclass(frozen=True, kw_only=True)
class SharesItsCache(ScaledTanh):
    """All passes over one shape keep what they keep in one array, to save memory."""

    room: dict = field(default_factory=dict, compare=False, repr=False)

    def forward(self, x, gain):
        y, (t, gain) = super().forward(x, gain)
        self.room.setdefault((t.shape, t.dtype), np.empty(t.shape, t.dtype))[...] = t
        return y, ((t.shape, t.dtype), gain)

    def backward(self, dy, cache):
        key, gain = cache
        return super().backward(dy, (self.room[key], gain))


@dataclass(frozen=True, kw_only=True)
class SharesItsGradients(ScaledTanh):
    room: dict = field(default_factory=dict, compare=False, repr=False)

    def backward(self, dy, cache):
        dx, dgain = super().backward(dy, cache)
        kept = self.room.setdefault((dx.shape, dx.dtype), np.empty(dx.shape, dx.dtype))
        kept[...] = dx
        return kept, dgain


class ReadsMemoryInOrder(ScaledTanh):
    def forward(self, x, gain):
        return super().forward(x.ravel(order="K").reshape(x.shape), gain)


class NeedsContiguousDy(ScaledTanh):
    def backward(self, dy, cache):
        flat = np.frombuffer(memoryview(dy).cast("B"), dtype=dy.dtype)
        return super().backward(flat.reshape(dy.shape), cache)


class ReturnsTooFew(ScaledTanh):
    def backward(self, dy, cache):
        return super().backward(dy, cache)[:1]


class ReturnsAList(ScaledTanh):
    def backward(self, dy, cache):
        return list(super().backward(dy, cache))


class ReturnsNoTuple(ScaledTanh):
    """An array whose first axis might be taken for gradients."""

    def backward(self, dy, cache):
        return super().backward(dy, cache)[0]


class ReturnsYAlone(ScaledTanh):
    """An array whose first axis might be taken for y and a cache."""

    def forward(self, x, gain):
        return super().forward(x, gain)[0]


class KeepsAnAxis(ScaledTanh):
    def backward(self, dy, cache):
        dx, dgain = super().backward(dy, cache)
        return dx, dgain[None]


class AddsWeightDecay(ScaledTanh):
    def backward(self, dy, cache):
        dx, dgain = super().backward(dy, cache)
        return dx, dgain + np.asarray(1e-3, dgain.dtype) * cache[1]


class RoundsSmallGradientsAway(ScaledTanh):
    def backward(self, dy, cache):
        return super().backward(np.where(np.abs(dy) < 0.5, 0, dy).astype(dy.dtype), cache)
