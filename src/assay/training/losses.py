"""What is minimised, and what is reported of it.

Shape key: B examples in the batch, K classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from assay.recipe.schema import CrossEntropyLoss, SquaredErrorLoss
from assay.recipe.schema import Loss as LossSection

Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From logits (B, K) and labels, classes (B,) or probabilities (B, K), to two means over the batch: what is minimised,
and the loss in nats to report."""


def build_loss(section: LossSection) -> Loss:
    """The loss that a recipe asks for, without its penalties."""
    if isinstance(section, CrossEntropyLoss):
        return cross_entropy(section)
    return squared_error(section)


def cross_entropy(section: CrossEntropyLoss) -> Loss:
    """Softmax cross-entropy, minimised with label smoothing ε if asked (Szegedy et al. 2016, arXiv:1512.00567).

    Minimised is the mean of (1 − ε)·(−log p_y) + ε/K·Σ_k (−log p_k). Reported is the mean of −log p_y either way, so
    that the losses of arms with different smoothing measure the same thing.
    """
    smoothing = section.label_smoothing

    def loss_of(logits_BK: Tensor, y_B: Tensor) -> tuple[Tensor, Tensor]:
        plain = functional.cross_entropy(logits_BK, y_B)
        if smoothing == 0.0:
            return plain, plain.detach()
        return functional.cross_entropy(logits_BK, y_B, label_smoothing=smoothing), plain.detach()

    return loss_of


def squared_error(section: SquaredErrorLoss) -> Loss:
    """Half the squared distance between scores and labels (Hui and Belkin 2020, arXiv:2006.07322).

    Minimised is the mean over the batch of ½·Σ_k (z_k − t_k)² for scores z and t = (1 − ε)·label + ε/K, the label being
    one-hot or, after mixing, probabilities. Reported is the cross-entropy of the scores' softmax, as for any loss. The
    paper multiplies terms where there are many classes; here none is.
    """
    smoothing = section.label_smoothing

    def loss_of(logits_BK: Tensor, y_B: Tensor) -> tuple[Tensor, Tensor]:
        classes = logits_BK.shape[1]
        target_BK = (functional.one_hot(y_B, classes) if y_B.ndim == 1 else y_B).to(logits_BK.dtype)
        if smoothing:
            target_BK = (1.0 - smoothing) * target_BK + smoothing / classes
        with torch.no_grad():
            reported = functional.cross_entropy(logits_BK, y_B)
        return 0.5 * (logits_BK - target_BK).square().sum(dim=1).mean(), reported

    return loss_of
