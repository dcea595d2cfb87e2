"""The ``train`` and ``evaluate`` sections of a recipe: how it is trained, and what is measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from assay.recipe.problems import invalid_value
from assay.recipe.schedule_section import Watched
from assay.recipe.section import Section

Engine = Literal["torch", "numpy", "autograd", "modules"]
Precision = Literal["float32", "float64", "bfloat16", "float16", "auto"]


class SmallerImages(Section):
    """A part of training in which images are smaller than the data's."""

    epochs: Annotated[int, Field(ge=1, le=100_000)]
    side: Annotated[int, Field(ge=4, le=4096)]
    """The shorter side in pixels; images are scaled down by antialiased bilinear interpolation."""


class Train(Section):
    """How long, in what batches, and with what arithmetic."""

    epochs: Annotated[int, Field(ge=0, le=100_000)] = 20
    """0 evaluates the model as it starts: published weights, for instance."""
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """CPU threads of one run. More change the order of sums, and so the last bits of every number."""
    precision: Precision = "float32"
    """``bfloat16``, ``float16``: products and convolutions in 16 bits, weights and sums in 32 (mixed precision).
    ``auto``: bfloat16 where the hardware multiplies it at once, else float32; settled before a run gets its name."""
    channels_last: bool = False
    """Images lie in memory pixel by pixel instead of channel by channel: faster for wide convolutions."""
    clip_norm: Annotated[float, Field(gt=0.0, le=1e6)] | None = None
    """Gradients whose global L2 norm is greater are scaled down to it (Pascanu et al. 2013, arXiv:1211.5063)."""
    smaller_first: Annotated[tuple[SmallerImages, ...], Field(max_length=20, strict=False)] = ()
    """Epochs at the start in which images are smaller, one part after the other."""
    watch: Watched = "val_accuracy"
    """What ``patience`` and ``keep: best`` go by."""
    patience: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Training stops once ``watch`` has not improved for so many measurements; 0: never."""
    min_improvement: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    """Least change of ``watch`` for the better that counts for ``patience``, in nats or as a fraction."""
    keep: Literal["last", "best"] = "last"
    """Whose weights are the run's model, which its test accuracy is measured with: the last epoch's, or those of the
    best measurement of ``watch``, the first one when tied; the last ones are then kept beside them."""
    engine: Engine = "torch"
    """What computes the training. ``numpy``: assay's layers written by hand; ``autograd``, ``modules``: one hidden tanh
    layer trained by plain SGD, written with torch's tensors, or with its layers, and no optimizer object."""

    @model_validator(mode="after")
    def _smaller_parts_leave_some(self) -> Train:
        small = sum(part.epochs for part in self.smaller_first)
        if small > self.epochs:
            raise invalid_value(
                ("train", "smaller_first"), f"must take at most train.epochs ({self.epochs}) epochs, got {small}."
            )
        return self


class Evaluate(Section):
    """What is measured, and how."""

    shift: Annotated[int, Field(ge=0, le=64)] = 0
    """Pixels by which test images are shifted, in each of the eight directions, to see what the model makes of them;
    0 leaves that out."""
    every: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Epochs from one measurement of the training and validation splits to the next; the last epoch has one always."""
    train_split: bool = True
    """Whether the training split is measured too. If not, a run has no train_loss, train_accuracy, accuracy_gap and
    initial_loss, only what was averaged while it trained."""
    views: Literal["one", "mirrored", "mirrored_and_shifted"] = "one"
    """Test-time augmentation: validation and test images are classified at the end of training from the mean score of
    the image and its mirror image, or, half and half, of these two and of both shifted by a pixel, up and left and down
    and right."""
