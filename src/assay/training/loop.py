"""The heart of training: a generator of optimizer steps.

Shape key: B examples in the batch, K classes; an input is (C, H, W) or (D,).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from assay.data.batches import Batch
from assay.records import StepRecord
from assay.training.arithmetic import Arithmetic
from assay.training.losses import Loss
from assay.training.penalties import Penalty
from assay.training.schedules import Schedule


def train(
    model: nn.Module,
    batches: Iterable[Batch],
    optimizer: Optimizer,
    schedule: Schedule,
    loss_of: Loss,
    penalty: Penalty,
    arithmetic: Arithmetic,
    *,
    clip_norm: float | None = None,
    first_step: int = 0,
) -> Iterator[StepRecord]:
    """Take one optimizer step per batch and yield a record of it. Nothing hooks in; the caller leaves the loop to stop.

    A loss that is not finite ends the loop: its record is yielded, with a gradient norm of NaN, and the weights stay as
    they were when they gave that loss. The gradient norm is that of what is minimised, penalties included, before it is
    clipped.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()  # so that the first step, too, finds which layers are to stay so
    for step, (x_B, y_B) in enumerate(batches, start=first_step):
        set_to_training(model)  # the caller may have evaluated since the last step
        rate = schedule(step)
        set_learning_rate(optimizer, rate)
        logits_BK = arithmetic.scores(model, x_B)
        minimised, loss_B = loss_of(logits_BK, y_B)
        loss = float(loss_B)
        gradient_norm = math.nan
        if math.isfinite(loss):
            optimizer.zero_grad(set_to_none=True)
            arithmetic.backward(minimised, optimizer)
            penalty.add_gradient()
            gradients = [p.grad for p in parameters if p.grad is not None]
            gradient_norm = global_norm(gradients)
            if clip_norm is not None and gradient_norm > clip_norm:
                torch._foreach_mul_(gradients, clip_norm / gradient_norm)
            arithmetic.step(optimizer)
        yield StepRecord(
            step=step,
            lr=rate,
            loss=loss,
            correct=count_correct(logits_BK.detach(), y_B),
            examples=len(y_B),
            gradient_norm=gradient_norm,
        )
        if not math.isfinite(loss):
            return


def set_to_training(model: nn.Module) -> None:
    """Put a model into training mode, but for layers none of whose parameters is trained: these stay in evaluation
    mode, with everything inside them, so that frozen batch normalisation neither uses nor learns statistics."""
    if model.training:
        return
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the rate of every parameter group: ``rate`` times the group's own factor, if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_factor", 1.0)


def count_correct(scores_BK: Tensor, y_B: Tensor) -> int:
    """How many examples score highest at their own class; an example with a score that is not finite is wrong.

    Where labels are probabilities (B, K), an example's own class is the most probable one.
    """
    own_B = y_B if y_B.ndim == 1 else y_B.argmax(dim=1)
    right_B = scores_BK.argmax(dim=1) == own_B
    if not math.isfinite(float(scores_BK.sum())):
        right_B &= scores_BK.isfinite().all(dim=1)
    return int(right_B.sum())


def global_norm(tensors: list[Tensor]) -> float:
    """The L2 norm of all values of all tensors together; 0 of none."""
    if not tensors:
        return 0.0
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors))))
