"""The ``augment`` section of a recipe: how training images are changed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from assay.recipe.problems import invalid_value
from assay.recipe.section import Positive, Section

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, le=1.0)]
Range = Annotated[tuple[Positive, Positive], Field(strict=False)]


class Augment(Section):
    """Random changes of training images, drawn anew for each image and epoch; each is off unless set.

    They are applied in the order of the fields here. Keys that say how (areas, ratios, operations, the fill) have no
    effect while what they belong to is off, so that an arm can switch it off alone.
    """

    crop_padding: Annotated[int, Field(ge=0, le=512)] = 0
    """Pixels added on every side, of which a window of the image's own size is cut at random."""
    crop_fill: Literal["zeros", "reflect"] = "zeros"
    """What is added: black, or the image mirrored at its edge."""
    horizontal_flip: Probability = 0.0
    """Probability of mirroring left and right."""
    alternating_flip: bool = False
    """Mirror each image left and right in every other epoch, a random half of them in the first (Jordan 2024,
    arXiv:2404.00498)."""
    vertical_flip: Probability = 0.0
    """Probability of turning the image upside down."""
    policy: Literal["none", "rand_augment", "trivial_augment"] = "none"
    """RandAugment (Cubuk et al. 2019, arXiv:1909.13719) or TrivialAugment (Müller and Hutter 2021, arXiv:2103.10158),
    with torchvision's operations and ranges."""
    rand_augment_operations: Annotated[int, Field(ge=1, le=14)] = 2
    """Operations in a row per image."""
    rand_augment_magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    """Their magnitude, of 0 to 30. TrivialAugment draws it."""
    resized_crop_area: Range | None = None
    """Least and greatest share of the image's area that a random window of it has; the window is resized to the whole
    (Szegedy et al. 2014, arXiv:1409.4842)."""
    resized_crop_ratio: Range = (3 / 4, 4 / 3)
    """Least and greatest ratio of that window's width to its height."""
    rotation: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    """Greatest angle in degrees by which the image is turned about its centre, either way; what comes in is black."""
    brightness: Strength = 0.0
    """The image is multiplied by a factor of 1 − brightness to 1 + brightness."""
    contrast: Strength = 0.0
    """Blended with its mean grey, by such a factor."""
    saturation: Strength = 0.0
    """Blended with its grey version, by such a factor; grey images stay as they are."""
    noise: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """Standard deviation of Gaussian noise added to every value, pixels scaled to 0–1; what leaves 0–1 is kept."""
    erasing: Probability = 0.0
    """Probability that a random rectangle is set to the normalised value 0 (Zhong et al. 2017, arXiv:1708.04896)."""
    erasing_area: Range = (0.02, 0.33)
    """Least and greatest share of the image's area erased."""
    erasing_ratio: Range = (0.3, 3.3)
    """Least and greatest ratio of the rectangle's height to its width."""
    mixup: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    """α of mixup (Zhang et al. 2017, arXiv:1710.09412): each image and label is averaged with the next of its batch,
    by a weight of its own, Beta(α, α)."""
    cutmix: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    """α of CutMix (Yun et al. 2019, arXiv:1905.04899): a rectangle of the next image's, of share 1 − Beta(α, α), is
    pasted in, and labels are averaged by the share that it really has. With mixup as well, each image gets one of the
    two, at even odds."""

    @property
    def active(self) -> bool:
        """Whether any of it changes an image."""
        return any(getattr(self, name) not in (0, None, False, "none") for name in AUGMENTATIONS)

    @model_validator(mode="after")
    def _ranges_rise(self) -> Augment:
        for name in ("resized_crop_area", "resized_crop_ratio", "erasing_area", "erasing_ratio"):
            bounds = getattr(self, name)
            if bounds is not None and bounds[0] > bounds[1]:
                raise invalid_value(("augment", name), f"must be the least value and the greatest, got {list(bounds)}.")
            if bounds is not None and name.endswith("area") and bounds[1] > 1.0:
                raise invalid_value(("augment", name), f"must be shares of at most 1, got {list(bounds)}.")
        if self.alternating_flip and self.horizontal_flip > 0.0:
            raise invalid_value(
                ("augment", "alternating_flip"),
                f"takes the place of augment.horizontal_flip, got {self.horizontal_flip} there. Leave one of them out.",
            )
        return self


AUGMENTATIONS = (
    "crop_padding",
    "horizontal_flip",
    "alternating_flip",
    "vertical_flip",
    "policy",
    "resized_crop_area",
    "rotation",
    "brightness",
    "contrast",
    "saturation",
    "noise",
    "erasing",
    "mixup",
    "cutmix",
)
"""The fields of `Augment` that switch something on; the others say how."""
