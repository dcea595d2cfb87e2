"""The ``pretrained`` and ``freeze`` sections of a recipe: weights to start from, and which of them stay."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from assay.recipe.problems import invalid_value
from assay.recipe.section import LayerPattern, NotHashed, Section

Patterns = Annotated[tuple[LayerPattern, ...], Field(max_length=100, strict=False)]


class Pretrained(Section):
    """Weights that were trained before, in place of initial ones. Layers they lack start as ``init`` says."""

    weights: Annotated[str | None, Field(min_length=1, max_length=4096), NotHashed] = None
    """``torchvision`` for those torchvision publishes of its model, or a ``.safetensors``, ``.pth``, ``.pt`` or
    ``.th`` file, looked for among the weight folders. What is in the file decides the run's name, not where it lies."""
    partial: bool = False
    """Whether layers besides the head may be missing in the file, or be of another shape there."""


class Freeze(Section):
    """Layers that training leaves as they are. Their batch normalisation stays in evaluation mode."""

    layers: Patterns = ()
    """Names of layers or parameters, as patterns of file names: ``["conv1", "features.*"]``."""
    all_but: Patterns = ()
    """Freeze everything but these; ``["head"]`` means the layer that gives the scores."""
    depth: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Freeze so many layers with weights, from the input on, and the normalisation between them."""
    cache_features: bool = True
    """Compute what the frozen layers before the first trained one give once, and keep it, where images are not
    augmented and memory allows; the numbers may differ in their last bits."""

    @model_validator(mode="after")
    def _one_way_of_saying_it(self) -> Freeze:
        beside = [key for key in ("layers", "depth") if getattr(self, key)]
        if self.all_but and beside:
            raise invalid_value(
                ("freeze", beside[0]),
                "must be left out where freeze.all_but is set, which freezes everything else already.",
            )
        return self

    @property
    def active(self) -> bool:
        """Whether anything is frozen."""
        return bool(self.layers or self.all_but or self.depth)
