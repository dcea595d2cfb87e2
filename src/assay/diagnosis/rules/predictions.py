"""What the predictions of a trained model give away, whatever it is and however it was trained.

Shape key: N examples of a split, C classes.
"""

from __future__ import annotations

import math

import numpy as np

from assay.diagnosis.evidence import SURE, Evidence
from assay.diagnosis.finding import Finding
from assay.metrics.label_noise import random_labels

_GAP = 0.03
"""Least difference between accuracies of validation and test that is told."""
_NEAR = 0.97
"""Of the greatest probability behind two softmaxes: so near one is, once the first is sure of anything."""
_TIES = 0.1
"""Share of examples whose lowest scores tie."""
_RANDOM_LABELS, _UNKNOWN = 0.05, 0.25
"""Least share of random labels that is told, of a model that knows all classes, and what is added for one that knows
none."""
_SURE_GAIN = 8.0
"""Nats: by chance a gain is as large once in 30,000 times."""
_LEAST_SHARPNESS = 0.5
"""Of a model so over-confident that its probabilities must be flattened further, nothing is told."""
_WEAKEST, _UNSURE = 2.5, 1.5
"""Nor of a model that gets less than half right and is below so many times chance, or must be sharpened more: it has
not made up its mind."""


def class_collapse(evidence: Evidence) -> Finding | None:
    """Half of the classes, which training had, are never predicted."""
    of_val = evidence.predictions["val"]
    labels_C = np.bincount(of_val.labels_N, minlength=evidence.classes)
    predicted_N = of_val.predicted_N()
    taken_C = np.bincount(predicted_N[predicted_N >= 0], minlength=evidence.classes)
    trained = evidence.counts("train")
    known_C = labels_C >= 5 if trained is None else (labels_C >= 5) & (trained > 0)
    never_C = known_C & (taken_C == 0)
    if evidence.diverged or evidence.classes < 2 or known_C.sum() < 2 or never_C.sum() < 0.5 * known_C.sum():
        return None
    favourite = int(taken_C.argmax())
    return Finding(
        rule="class_collapse",
        severity="severe",
        title=f"{int(never_C.sum())} of {int(known_C.sum())} classes are never predicted",
        seen=f"{taken_C[favourite] / len(predicted_N):.1%} of the validation examples are taken for "
        f"{evidence.record.classes[favourite]}, of whose labels there are {labels_C[favourite] / labels_C.sum():.1%}.",
        why="The model has stopped telling classes apart; its accuracy is that of guessing among a few.",
        cause="Units that died or saturated, a rate that threw the weights far away, or classes too rare.",
        cure="Lower the learning rate, or let batches keep the scale of activations in order by batch normalisation.",
        changes=evidence.divided_rate(10.0),
    )


def softmax_twice(evidence: Evidence) -> Finding | None:
    """No probability is beyond what scores between 0 and 1 that sum to 1 can give, and some come near it."""
    lowest, highest = _behind_two_softmaxes(evidence.classes)
    least, found = _extremes(evidence)
    if not _NEAR * highest <= found <= highest * 1.001 or least < lowest * 0.999:
        return None
    floor = -math.log(highest)
    return Finding(
        rule="softmax_twice",
        severity="severe",
        title="The model's scores have been through a softmax already",
        seen=f"All probabilities are between {least:.4f} and {found:.4f}: softmax of what a softmax gave is between "
        f"{lowest:.4f} and {highest:.4f} for {evidence.classes} classes. The loss so cannot fall below {floor:.2f}.",
        why="Gradients become tiny as soon as the model is a little sure, and its probabilities mean nothing.",
        cause="The model ends with a softmax (or a sigmoid), and the loss applies its own.",
        cure="Return the scores themselves (logits) from the model.",
    )


def last_relu(evidence: Evidence) -> Finding | None:
    """Scores tie at their lowest value, as they do behind a ReLU."""
    least, _ = _extremes(evidence)
    if evidence.classes < 3 or least >= 0.999 * _behind_two_softmaxes(evidence.classes)[0]:
        return None  # behind two softmaxes the lowest scores tie too, near 0
    probabilities_NC = evidence.predictions["val"].probabilities_NC
    finite_NC = probabilities_NC[np.isfinite(probabilities_NC).all(axis=1)]
    if not len(finite_NC) or not evidence.in_epochs:
        return None
    lowest_N1 = finite_NC.min(axis=1, keepdims=True)
    # Equal but for rounding; a probability that underflowed is no tie of scores.
    tied_N = ((finite_NC <= lowest_N1 * (1 + 1e-6)).sum(axis=1) >= 2) & (lowest_N1[:, 0] > 1e-30)
    share = float(tied_N.mean())
    all_tied = float(((finite_NC.max(axis=1) - lowest_N1[:, 0]) <= 1e-6 * lowest_N1[:, 0]).mean())
    if share < _TIES or all_tied > 0.99:
        return None
    return Finding(
        rule="last_relu",
        severity="severe",
        title="The model's scores cannot be negative: a ReLU follows the last layer",
        seen=f"For {share:.0%} of the validation examples two or more classes have exactly the same lowest score.",
        why="A class whose score is 0 gets no gradient, so mistakes are no longer learnt from.",
        cause="The activation that stands between layers was put after the last one too.",
        cure="Return the last linear layer's output as it is.",
    )


def validation_flatters(evidence: Evidence) -> Finding | None:
    """Validation is much better than test: it is no held-out set, or test is prepared otherwise."""
    on_val, on_test = evidence.metric("val_accuracy"), evidence.metric("test_accuracy")
    if on_val is None or on_test is None:
        return None
    sd = math.hypot(evidence.noise(on_val, "val"), evidence.noise(on_test, "test"))
    on_train = evidence.metric("train_accuracy")
    if on_val - on_test < max(_GAP, (SURE + 1) * sd):
        return None
    leaked = on_train is not None and on_val > on_train - 2 * _GAP and on_train - on_test > _GAP
    return Finding(
        rule="validation_flatters",
        severity="severe",
        title=f"Validation is {100 * (on_val - on_test):.1f} points better than test",
        seen=f"Validation accuracy {on_val:.1%}, test accuracy {on_test:.1%}"
        + (f", training accuracy {on_train:.1%}" if on_train is not None else "")
        + f"; {(on_val - on_test) / sd:.0f} standard deviations of what the splits' sizes explain.",
        why="Whatever is chosen by validation is chosen wrongly, and the model is worth what the test split says.",
        cause="Validation images, or near copies of them, are among the training images."
        if leaked
        else "Test images are prepared otherwise than training and validation ones (as by a forgotten normalisation), "
        "are of another origin, or near copies of validation images are in training.",
        cure="Look for copies across splits with `assay data check`, and compare the splits with `assay data stats`.",
    )


def label_noise(evidence: Evidence) -> Finding | None:
    """Some labels of validation and test are explained by nothing that the model knows."""
    splits = [evidence.predictions["val"]]
    if validation_flatters(evidence) is None:  # or test images are others, and not their labels
        splits.append(evidence.predictions["test"])
    probabilities_NC = np.concatenate([of.probabilities_NC for of in splits])
    labels_N = np.concatenate([of.labels_N for of in splits])
    usable_N = np.isfinite(probabilities_NC).all(axis=1)
    C = evidence.classes
    if C < 2 or not usable_N.any() or not evidence.recipe.probabilistic:
        return None
    right_N = probabilities_NC.argmax(axis=1) == labels_N
    accuracy = float(right_N[usable_N].mean())
    if evidence.by_chance(accuracy, "val"):
        return None
    found = random_labels(probabilities_NC[usable_N], labels_N[usable_N])
    # What a model does not know looks random to it as well, so that the weaker it is the more is asked.
    known = (accuracy - found.share / C) / max(1.0 - found.share, 1e-9)
    least = _RANDOM_LABELS + _UNKNOWN * (1.0 - min(1.0, known))
    weak = accuracy < 0.5
    if weak and (accuracy < _WEAKEST * evidence.chance or found.sharpness > _UNSURE):
        return None
    if found.gain < _SURE_GAIN or found.sharpness < _LEAST_SHARPNESS or found.share < least:
        return None
    return Finding(
        rule="label_noise",
        severity="warning",
        title=f"About {found.share:.0%} of the labels look as if drawn at random",
        seen=f"{usable_N.sum():,} labels of validation{' and test' if len(splits) > 1 else ''} are likelier by "
        f"e^{found.gain:.0f} if so many of them are random than if all follow the model's probabilities, "
        f"{'sharpened' if found.sharpness > 1 else 'flattened'} as fits best; {accuracy:.1%} are classified rightly.",
        why="Wrong labels set a ceiling on every accuracy, and training longer learns them by heart.",
        cause="Labels were shuffled in part, or given by something unreliable.",
        cure="Look at the images of the worst losses in the report. Until they are mended, smooth the labels.",
        changes={"loss.label_smoothing": 0.1} if not getattr(evidence.recipe.loss, "label_smoothing", 1.0) else {},
    )


def _behind_two_softmaxes(classes: int) -> tuple[float, float]:
    """The least and the greatest that a softmax can give of probabilities."""
    return 1.0 / (math.e + classes - 1), math.e / (math.e + classes - 1)


def _extremes(evidence: Evidence) -> tuple[float, float]:
    """The least and the greatest of all probabilities."""
    every = np.concatenate([of.probabilities_NC.ravel() for of in evidence.predictions.values()])
    finite = every[np.isfinite(every)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
