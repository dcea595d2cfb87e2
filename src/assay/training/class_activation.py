"""Where in an image a convolutional network finds its class, kept for the report: ``class_activation.png`` and
``class_activation.json``.

Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391): with the maps A of the last convolution and the score y of a class,
α_c = mean over places of ∂y/∂A_c, and the map is ReLU(Σ_c α_c·A_c). Where A is averaged over all places and then mapped
linearly to scores, α_c is the class's weight of that channel divided by the number of places, so that the map is the
one of CAM (Zhou et al. 2016, arXiv:1512.04150) but for the scale and the ReLU.

The last convolution is the one called last whose output has more than one place. Where branches run side by side and
are joined (GoogLeNet, Inception, DenseNet), that is one branch, and the map tells of it alone.

Shape key: B images, C channels of the maps, H height, W width, K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from assay.data.sheet import tile
from assay.data.thumbnails import Thumbnails, thumbnails
from assay.metrics.class_activation import (
    CLASS_ACTIVATION,
    ClassActivation,
    class_activation_written,
    examples_to_explain,
)
from assay.metrics.shown_examples import Tiles, shown_examples
from assay.records import Predictions
from assay.training.engines.engine import Engine
from assay.training.engines.with_torch import TorchEngine
from assay.training.isolation import generators_untouched
from assay.training.mistakes import raw_images
from assay.training.prepare import PreparedData

CLASS_ACTIVATION_SHEET = "class_activation.png"

_SIDE = 64
_PAIRS_IN_A_ROW = 3
_HEAT = np.array([(0, 0, 40), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float64)
"""Colours from none to most, evenly spaced; dark to light, so that they also tell in grey."""
_COVER = 0.55
"""How much of the image the colours hide."""


def class_activation_files(engine: Engine | None, predictions: Predictions, data: PreparedData) -> Mapping[str, bytes]:
    """The sheet and what it shows, or nothing: of points, of a network without such a convolution, of one that torch
    did not train, and of one that cannot be looked into, for that must not end the run.

    Nothing of the run may be measured afterwards, as a user's module may remember what it has seen. Takes as long as
    classifying a dozen images.

    Args:
        engine: with the model that is kept.
        predictions: of the test split.
        data: of the run.
    """
    if not isinstance(engine, TorchEngine):
        return {}
    split, chosen_B = data.splits["test"], examples_to_explain(predictions)
    images = raw_images(split, chosen_B)
    if not images:
        return {}
    shown = shown_examples(predictions, chosen_B, probabilistic=True)
    device = split.labels_N.device
    predicted_B = torch.tensor([one.predicted for one in shown], device=device)
    model, arithmetic = engine.kept, engine.arithmetic
    try:
        with warnings.catch_warnings(), generators_untouched(device), _evaluating(model):
            warnings.simplefilter("ignore")
            x_B = split.inputs(np.array(chosen_B, dtype=np.int64))
            found = class_activation_maps(model, partial(arithmetic.scores, model), x_B, predicted_B)
    except Exception:  # noqa: BLE001 - a user's module may raise anything when gradients are asked for
        return {}
    if found is None or not bool(torch.isfinite(found[1]).all()):
        return {}
    sheet = _sheet(images, found[1].cpu())
    tiles = Tiles(columns=sheet.columns, width=sheet.width, height=sheet.height)
    kept = ClassActivation(layer=found[0][:200], examples=shown, tiles=tiles)
    return {CLASS_ACTIVATION_SHEET: sheet.content, CLASS_ACTIVATION: class_activation_written(kept)}


def class_activation_maps(
    model: nn.Module, scores: Callable[[Tensor], Tensor], x_BCHW: Tensor, classes_B: Tensor
) -> tuple[str, Tensor] | None:
    """Grad-CAM at the last convolution.

    Gradients are taken of its output alone, which is cut off from what comes before: no parameter gets one, whether it
    is trained or frozen.

    Args:
        model: in evaluation mode.
        scores: of a batch, by way of the model: logits (B, K).
        x_BCHW: normalised images.
        classes_B: int64, whose scores are explained.

    Returns:
        The name of the convolution, and maps (B, H, W), not negative, in float32. None without such a convolution,
        and where it is given more or fewer images than the model.
    """
    if not any(isinstance(layer, nn.Conv2d) for layer in model.modules()):
        return None
    with torch.enable_grad(), _cut_at_convolutions(model) as last:
        scores_BK = scores(x_BCHW)
        if not last or len(last["maps"]) != len(x_BCHW):
            return None
        (gradient_BCHW,) = torch.autograd.grad(scores_BK.gather(1, classes_B[:, None]).sum(), last["maps"])
    weight_BC11 = gradient_BCHW.float().mean(dim=(2, 3), keepdim=True)
    return last["name"], (weight_BC11 * last["maps"].detach().float()).sum(dim=1).relu()


@contextmanager
def _cut_at_convolutions(model: nn.Module) -> Iterator[dict[str, Any]]:
    """While a model is asked, cut it behind each convolution; the last one's ``name`` and ``maps`` are then there."""
    last: dict[str, Any] = {}

    def cut(name: str, layer: nn.Module, inputs: Any, output: Any) -> Any:
        if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[2] * output.shape[3] < 2:
            return output
        last["name"], last["maps"] = name, output.detach().requires_grad_()
        return last["maps"].clone()  # the next layer may write to what it is given

    handles = [
        layer.register_forward_hook(partial(cut, name))
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d)
    ]
    try:
        yield last
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each of its layers back into its own afterwards."""
    modes = [(layer, layer.training) for layer in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode


def _sheet(images: Sequence[NDArray[np.uint8]], maps_BHW: Tensor) -> Thumbnails:
    """Each image, and beside it the same with its map over it, scaled so that its greatest value is the brightest."""
    tiles = []
    for image_CHW, map_HW in zip(images, maps_BHW, strict=True):
        plain_HWC = np.asarray(tile(image_CHW, _SIDE).convert("RGB"))
        size = plain_HWC.shape[:2]
        heat_HW = functional.interpolate(map_HW[None, None], size=size, mode="bilinear")[0, 0].numpy()
        tiles += [plain_HWC.transpose(2, 0, 1), _covered(plain_HWC, heat_HW).transpose(2, 0, 1)]
    return thumbnails(tiles, side=_SIDE, columns=2 * _PAIRS_IN_A_ROW)


def _covered(plain_HWC: NDArray[np.uint8], heat_HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    most = float(heat_HW.max())
    place_HW = (heat_HW / most if most > 0 else np.zeros_like(heat_HW)) * (len(_HEAT) - 1)
    stops = np.arange(len(_HEAT))
    colour_HWC = np.stack([np.interp(place_HW, stops, _HEAT[:, channel]) for channel in range(3)], axis=2)
    grey_HW1 = plain_HWC.mean(axis=2, keepdims=True)
    covered_HWC: NDArray[np.uint8] = np.rint((1 - _COVER) * grey_HW1 + _COVER * colour_HWC).astype(np.uint8)
    return covered_HWC
