"""What a classifier is worth on a set of examples: from its probabilities and the labels.

Every value equals scikit-learn's, which tests hold it to, on degenerate inputs too. It is computed here all the same:
intervals over examples (`assay.metrics.intervals`) need what makes a figure up, example by example, and importing
scikit-learn's metrics would take a worker longer than many a short training.

Shape key: N examples, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from assay.metrics import influence
from assay.metrics.calibration import calibration_error, reliability
from assay.metrics.evaluation import ClassificationReport, ClassScores, Estimated
from assay.metrics.influence import Area, Labels
from assay.metrics.intervals import mean_of, proportion, wilson
from assay.records import Array, Predictions

TOP = (3, 5)
"""The k of top-k accuracies; those below the number of classes say something."""


def classification_report(predictions: Predictions, *, probabilistic: bool = True) -> ClassificationReport:
    """Everything there is to say of these predictions.

    The figures: ``accuracy``, ``balanced_accuracy`` (mean recall of the classes that labels have), ``macro_f1`` and
    ``weighted_f1`` (over classes that occur among labels or predictions), and, of finite probabilities,
    ``top3_accuracy``, ``top5_accuracy``, ``roc_auc`` (each class against the rest; mean of those that have examples on
    both sides), ``log_loss`` (nats), ``brier`` (the sum over classes, 0 to 2; Brier 1950) and ``calibration_error``.
    An example with a probability that is not a number counts as wrong, and as taken for no class.

    Args:
        predictions: of at least one example.
        probabilistic: whether the probabilities are more than a decision: a support vector machine gives none.
    """
    labels_N, probabilities_NC = predictions.labels_N, predictions.probabilities_NC.astype(np.float64)
    predicted_N, correct_N = predictions.predicted_N(), predictions.correct_N()
    probable = probabilistic and bool(np.isfinite(probabilities_NC).all())
    areas = _areas(probabilities_NC, labels_N) if probable else {}
    classes = _class_scores(labels_N, predicted_N, probabilities_NC.shape[1], areas)
    share = float(correct_N.mean())
    figures = {"accuracy": proportion(share, correct_N - share), **_of_decisions(labels_N, predicted_N, classes)}
    diagram = None
    if probable:
        confidence_N = probabilities_NC[np.arange(len(labels_N)), predicted_N]
        figures |= _of_ranks(probabilities_NC, labels_N, areas) | _of_probabilities(probabilities_NC, labels_N)
        figures["calibration_error"] = calibration_error(confidence_N, correct_N)
        diagram = reliability(confidence_N, correct_N)
    return ClassificationReport(examples=len(labels_N), figures=figures, classes=classes, reliability=diagram)


def _areas(probabilities_NC: Array, labels_N: Labels) -> dict[int, Area]:
    """The area under the ROC curve of each class that some examples have, and some have not."""
    support_C = np.bincount(labels_N, minlength=probabilities_NC.shape[1])
    split = np.flatnonzero((support_C > 0) & (support_C < len(labels_N)))
    return {int(at): influence.of_roc_auc(probabilities_NC[:, at], labels_N == at) for at in split}


def _class_scores(
    labels_N: Labels, predicted_N: Labels, classes: int, areas: Mapping[int, Area]
) -> tuple[ClassScores, ...]:
    hits_C = np.bincount(labels_N[labels_N == predicted_N], minlength=classes)
    support_C = np.bincount(labels_N, minlength=classes)
    taken_C = np.bincount(predicted_N[predicted_N >= 0], minlength=classes)
    return tuple(
        ClassScores(
            support=int(support_C[at]),
            predicted=int(taken_C[at]),
            precision=wilson(_share(hits_C[at], taken_C[at]), float(taken_C[at])),
            recall=wilson(_share(hits_C[at], support_C[at]), float(support_C[at])),
            f1=proportion(
                _share(2 * hits_C[at], support_C[at] + taken_C[at]),
                influence.of_f1(labels_N, predicted_N, at),
                trials=float(support_C[at] + taken_C[at]) / 2.0,
            ),
            roc_auc=proportion(areas[at].value, areas[at].influence_N) if at in areas else None,
        )
        for at in range(classes)
    )


def _share(part: int, whole: int) -> float:
    """Of nothing it is 0."""
    return float(part / whole) if whole else 0.0


def _of_decisions(labels_N: Labels, predicted_N: Labels, classes: tuple[ClassScores, ...]) -> dict[str, Estimated]:
    """Averages over classes of what examples were taken for."""
    present = [one for one in classes if one.support]
    occurring = [one for one in classes if one.support or one.predicted]
    # With every class all right or all wrong nothing varies: the mean of such shares has then so many trials.
    trials = len(present) ** 2 / sum(1.0 / one.support for one in present)
    count = len(classes)
    return {
        "balanced_accuracy": proportion(
            sum(one.recall.value for one in present) / len(present),
            influence.of_balanced_accuracy(labels_N, labels_N == predicted_N, count),
            trials=trials,
        ),
        "macro_f1": proportion(
            sum(one.f1.value for one in occurring) / len(occurring),
            influence.of_macro_f1(labels_N, predicted_N, count),
            trials=trials,
        ),
        "weighted_f1": proportion(
            sum(one.f1.value * one.support for one in present) / len(labels_N),
            influence.of_weighted_f1(labels_N, predicted_N, count),
            trials=trials,
        ),
    }


def _of_ranks(probabilities_NC: Array, labels_N: Labels, areas: Mapping[int, Area]) -> dict[str, Estimated]:
    """Figures of the order in which the model holds classes, or examples of a class, for likely."""
    examples, classes = probabilities_NC.shape
    own_N1 = probabilities_NC[np.arange(examples), labels_N][:, None]
    # Of equal probabilities, scikit-learn ranks the class that comes last highest.
    after_NC = (probabilities_NC == own_N1) & (np.arange(classes) > labels_N[:, None])
    rank_N = ((probabilities_NC > own_N1) | after_NC).sum(axis=1)
    figures = {f"top{k}_accuracy": wilson(float((rank_N < k).mean()), float(examples)) for k in TOP if k < classes}
    if areas:
        value = float(np.mean([one.value for one in areas.values()]))
        figures["roc_auc"] = proportion(value, np.mean([one.influence_N for one in areas.values()], axis=0))
    return figures


def _of_probabilities(probabilities_NC: Array, labels_N: Labels) -> dict[str, Estimated]:
    """Figures that each example has for itself."""
    likelihood_N = probabilities_NC[np.arange(len(labels_N)), labels_N]
    # A probability that underflowed to 0 has a loss too: that of the least number that its type can tell from it.
    loss_N = -np.log(np.maximum(likelihood_N, np.finfo(np.float32).tiny))
    truth_NC = np.eye(probabilities_NC.shape[1])[labels_N]
    return {"log_loss": mean_of(loss_N), "brier": mean_of(((probabilities_NC - truth_NC) ** 2).sum(axis=1))}
