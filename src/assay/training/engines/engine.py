"""What a run asks of whatever computes it.

Shape key: B examples in the batch, K classes; an input is (C, H, W) or (D,).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from torch import Tensor

from assay.data.batches import Batch
from assay.records import Array, EpochRecord, StepRecord
from assay.training.state import State


class Engine(Protocol):
    """A model that can be trained, asked for scores, and taken apart into its weights.

    Batches come in, and scores go out, as torch tensors: that is how the data room hands examples over. On the CPU an
    array and a tensor share their memory.
    """

    @property
    def parameters(self) -> int:
        """How many numbers the model holds that training could change."""
        ...

    @property
    def trainable_parameters(self) -> int:
        """How many of them training does change."""
        ...

    def steps(self, batches: Iterable[Batch], *, first_step: int = 0) -> Iterator[StepRecord]:
        """Take one optimizer step per batch and yield a record of it; nothing happens ahead of the caller.

        A loss that is not finite ends the steps: its record is yielded, with a gradient norm of NaN, and the weights
        stay as they were when they gave that loss. Steps are counted from ``first_step``.
        """
        ...

    def observe(self, record: EpochRecord) -> None:
        """Take in what was measured after an epoch: a rate may depend on it."""
        ...

    def scores(self, x_B: Tensor) -> Tensor:
        """Logits (B, K) in evaluation mode, without gradients, by the weights that `weights` gives."""
        ...

    def weight_norm(self) -> float:
        """The L2 norm of all parameters together."""
        ...

    def weights(self) -> Mapping[str, Array]:
        """Copies of all parameters and running statistics, by name: what ``weights.safetensors`` keeps."""
        ...

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """Evaluate with these, which `weights` gave; training does not go on from there."""
        ...

    def state(self) -> State:
        """Everything between two steps that decides the next ones, batches and global generators apart."""
        ...

    def restore(self, state: State) -> None:
        """Go on from there, as an engine of the same recipe that has taken no step.

        Raises:
            Exception: the state is of another training; the engine cannot be used any more.
        """
        ...
