"""Models that scikit-learn fits at once, as runs like any other: support vector machines and logistic regression.

scikit-learn is imported when one is fitted, not before. What a fitted model holds is copied out of it, so that nothing
of a run is a pickle and its predictions can be recomputed without scikit-learn; see `fit_at_once`.

Shape key: N examples of a split, B examples in a batch, D values of an input (an image is flattened, channels first), K
classes, J classes that occur in training, R weight vectors (J, or 1 for two classes), S support vectors.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from assay.data.batches import SplitData
from assay.errors import DataError
from assay.recipe.schema import FittedAtOnce, LogisticRegressionModel, Recipe, SvmModel
from assay.records import Array, EpochRecord, Split
from assay.training.boundary import boundary_at_once
from assay.training.evaluate import EVALUATION_BATCH, Evaluation, Scores, evaluate, seconds_per_example
from assay.training.fit import Trained
from assay.training.prepare import PreparedData
from assay.training.shifts import shift_metrics

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]

_NO_DRAW = 0
"""``random_state``: nothing fitted here draws; without a number scikit-learn would advance NumPy's global generator."""


def fit_at_once(recipe: Recipe, data: PreparedData) -> Trained:
    """Fit the recipe's model to all training examples, and measure it as a network after its last epoch.

    Inputs are those a network gets, normalised in ``train.precision``, but flattened and in float64, because that is
    what LIBSVM, LIBLINEAR and L-BFGS compute in. They take 8·N·D bytes; LIBLINEAR's own copy takes twice as much again.

    The history has one epoch: its ``seconds`` are those of fitting, its rate is 0, and what exists only while weights
    move is missing (gradient norm, running loss and accuracy). The weight norm is that of coefficients and intercepts;
    an RBF machine has none, for its weights lie in a space of infinitely many dimensions.

    A support vector machine decides and gives no probabilities: its predictions are stored with probability 1 for the
    class that scikit-learn's ``predict`` says, and every loss is missing, even where all is right. Logistic regression
    has probabilities and losses. It starts from zero weights, so its initial loss is ln J. A class that does not occur
    in training has the probability 0, and an example of it makes the loss infinite, which is kept as missing.

    The weights, float64 but for the two arrays of whole numbers:

    - both linear models: ``coefficients`` (R, D), ``intercepts`` (R,); the class is that of the largest of the R
      scores x·w + b, or for two classes the second one if the only score is above 0.
    - RBF: ``support_vectors`` (S, D), ``dual_coefficients`` (J − 1, S), ``intercepts`` (J·(J − 1)/2,), ``gamma`` (),
      ``support_counts`` (J,): how many of the support vectors, which are ordered by class, each class has. Each pair
      of classes i < j votes, for i if its score Σ α·exp(−γ‖x − s‖²) + b is above 0; α is row j − 1 of the dual
      coefficients over the support vectors of i, and row i over those of j. For two classes the sign is the other way
      round, as scikit-learn has it: above 0 means the second class.
    - all: ``classes`` (J,), the labels that occur in training.

    ``parameters`` counts the numbers needed to predict: every value of the float64 arrays. An RBF machine's support
    vectors are among them, so its count depends on the seed.

    Raises:
        DataError: only one class occurs in training.
    """
    model = recipe.model
    if not isinstance(model, FittedAtOnce):
        raise TypeError(f"fit_at_once fits models that have no epochs, got {model.name}; use fit_in_epochs.")
    train_data, test_data = data.splits["train"], data.splits["test"]
    x_ND, labels_N = _inputs(train_data), train_data.labels_N.numpy()
    estimator = _estimator(model, x_ND)
    # The run's own limit was set before scikit-learn loaded SciPy's BLAS and an OpenMP of its own.
    with threadpool_limits(limits=recipe.train.threads):
        seconds = _fit(estimator, model, x_ND, labels_N, data.classes)
        decides = isinstance(model, SvmModel)
        scores = _decisions(estimator, len(data.classes)) if decides else _logits(estimator, len(data.classes))
        evaluations = {name: _evaluation(scores, split, decides=decides) for name, split in data.splits.items()}
        inference_seconds = seconds_per_example(scores, test_data)
        shifts = shift_metrics(scores, test_data, evaluations["test"], recipe.evaluate.shift)
        drawn = boundary_at_once(
            recipe,
            _distances(estimator, len(data.classes)) if decides else scores,
            data,
            evaluations,
            kind="decisions" if decides else "probabilities",
        )
    weights = _weights(estimator, model)
    parameters = sum(array.size for array in weights.values() if array.dtype == np.float64)
    return Trained(
        history=(_only_epoch(evaluations, _weight_norm(weights), seconds),),
        initial_loss=None if decides else math.log(len(weights["classes"])),
        evaluations=evaluations,
        inference_seconds=inference_seconds,
        weights=weights,
        parameters=parameters,
        trainable_parameters=parameters,
        kept_epoch=1,
        extra_metrics=shifts,
        artefacts=drawn,
    )


# --- fitting ---------------------------------------------------------------------------------------------------------


def _inputs(split: SplitData) -> Matrix:
    """All inputs of a split in one array, filled batch by batch: at float64 there is no room for a second."""
    x_ND = np.empty((len(split), math.prod(split.input_shape)))
    done = 0
    for x_B, _ in split.in_order(EVALUATION_BATCH):
        x_ND[done : done + len(x_B)] = x_B.flatten(1).numpy()
        done += len(x_B)
    return x_ND


def _estimator(model: SvmModel | LogisticRegressionModel, x_ND: Matrix) -> Any:
    """scikit-learn's, not yet fitted."""
    if isinstance(model, LogisticRegressionModel):
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=model.C, solver="lbfgs", max_iter=model.iterations)
    if model.kernel == "linear":
        from sklearn.svm import LinearSVC

        # The primal problem is solved by Newton steps, which reach the optimum where coordinate descent on the dual
        # gives up: on the digits it does so after its 1,000 passes, and Newton is there after 17.
        return LinearSVC(C=model.C, dual=False, random_state=_NO_DRAW)
    from sklearn.svm import SVC

    return SVC(C=model.C, kernel="rbf", gamma=_gamma(model, x_ND), random_state=_NO_DRAW)


def _gamma(model: SvmModel, x_ND: Matrix) -> float:
    """The kernel's width; ``scale`` is scikit-learn's own rule, spelt out because its result is kept with the weights.
    Inputs that are all the same get 1, for no width tells them apart."""
    if model.gamma != "scale":
        return model.gamma
    variance = float(x_ND.var())
    return 1.0 / (x_ND.shape[1] * variance) if variance else 1.0


def _fit(
    estimator: Any,
    model: SvmModel | LogisticRegressionModel,
    x_ND: Matrix,
    labels_N: Labels,
    classes: tuple[str, ...],
) -> float:
    """Fit and return the seconds it took. That it did not converge is a warning in a recipe's own words."""
    from sklearn.exceptions import ConvergenceWarning

    present = np.unique(labels_N)
    if len(present) < 2:
        raise DataError(
            f"model.name {model.name} needs examples of at least 2 classes to be fitted, got {len(labels_N)} of "
            f"class {classes[int(present[0])]!r}. Add examples of others."
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = perf_counter()
        estimator.fit(x_ND, labels_N)
        seconds = perf_counter() - start
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            warnings.warn(_not_converged(model), ConvergenceWarning, stacklevel=2)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return seconds


def _not_converged(model: SvmModel | LogisticRegressionModel) -> str:
    if isinstance(model, LogisticRegressionModel):
        return (
            f"logistic_regression had not converged after model.iterations {model.iterations}. Raise it, lower "
            "model.C, or choose data.normalize channel."
        )
    return "svm had not converged when scikit-learn stopped. Lower model.C, or choose data.normalize channel."


# --- what is fitted --------------------------------------------------------------------------------------------------


def _decisions(estimator: Any, classes: int) -> Scores:
    """Log-probabilities of a decision: 0 for the class decided on, −∞ for every other one."""

    def scores(x_B: Tensor) -> Tensor:
        predicted_B = estimator.predict(_flat(x_B))
        scores_BK = np.full((len(predicted_B), classes), -np.inf)
        scores_BK[np.arange(len(predicted_B)), predicted_B] = 0.0
        return torch.from_numpy(scores_BK)

    return scores


def _logits(estimator: Any, classes: int) -> Scores:
    """Logits of logistic regression; −∞ for a class that did not occur in training."""

    def scores(x_B: Tensor) -> Tensor:
        logits = estimator.decision_function(_flat(x_B))
        if logits.ndim == 1:  # of two classes, the second one's over the first one's
            logits = np.stack([np.zeros_like(logits), logits], axis=1)
        logits_BK = np.full((len(logits), classes), -np.inf)
        logits_BK[:, estimator.classes_] = logits
        return torch.from_numpy(logits_BK)

    return scores


def _distances(estimator: Any, classes: int) -> Scores:
    """Scores of a machine that decides: signed distances from its boundary, largest for the class decided on.

    Pairs of classes vote on more than two, and scikit-learn breaks ties of votes in another way in ``predict`` than in
    ``decision_function``; there the class decided on is put just ahead.
    """
    distances = _logits(estimator, classes)

    def scores(x_B: Tensor) -> Tensor:
        scores_BK = distances(x_B)
        best_B1 = scores_BK.max(dim=1, keepdim=True).values
        predicted_B1 = torch.from_numpy(np.asarray(estimator.predict(_flat(x_B)), dtype=np.int64))[:, None]
        ahead_B1 = torch.where(scores_BK.argmax(dim=1, keepdim=True) == predicted_B1, best_B1, best_B1 + 1e-6)
        return scores_BK.scatter(1, predicted_B1, ahead_B1)

    return scores


def _flat(x_B: Tensor) -> Matrix:
    x_BD: Matrix = x_B.flatten(1).to(torch.float64).numpy()
    return x_BD


def _evaluation(scores: Scores, split: SplitData, *, decides: bool) -> Evaluation:
    evaluation = evaluate(scores, split)
    return replace(evaluation, loss=math.nan) if decides else evaluation


def _weights(estimator: Any, model: SvmModel | LogisticRegressionModel) -> dict[str, Array]:
    """Copies of what the estimator holds, by the names in `fit_at_once`."""
    classes = {"classes": np.asarray(estimator.classes_, dtype=np.int64).copy()}
    if isinstance(model, SvmModel) and model.kernel == "rbf":
        return {
            "support_vectors": _copy(estimator.support_vectors_),
            "dual_coefficients": _copy(estimator.dual_coef_),
            "intercepts": _copy(estimator.intercept_),
            "gamma": np.array(estimator.gamma, dtype=np.float64),
            "support_counts": np.asarray(estimator.n_support_, dtype=np.int64).copy(),
            **classes,
        }
    return {"coefficients": _copy(estimator.coef_), "intercepts": _copy(estimator.intercept_), **classes}


def _copy(array: Any) -> Matrix:
    return np.array(array, dtype=np.float64, order="C")


def _weight_norm(weights: Mapping[str, Array]) -> float | None:
    if "coefficients" not in weights:
        return None
    return math.hypot(np.linalg.norm(weights["coefficients"]), np.linalg.norm(weights["intercepts"]))


def _only_epoch(evaluations: Mapping[Split, Evaluation], weight_norm: float | None, seconds: float) -> EpochRecord:
    on_train, on_val = evaluations["train"], evaluations["val"]
    return EpochRecord(
        epoch=1,
        step=0,
        lr=0.0,
        running_train_loss=None,
        running_train_accuracy=None,
        train_loss=on_train.finite_loss,
        train_accuracy=on_train.accuracy,
        val_loss=on_val.finite_loss,
        val_accuracy=on_val.accuracy,
        gradient_norm=None,
        weight_norm=weight_norm,
        seconds=seconds,
    )
