"""Each rule on a run that shows what it is about, and on ones just short of it."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_runs import history, layer, made_up, predictions, rising, uncertain_predictions, vitals_of

from assay.diagnosis.cure import study_of_cure
from assay.diagnosis.evidence import Evidence
from assay.diagnosis.run import RULES, diagnose_evidence
from assay.records import Predictions


def rules_of(evidence: Evidence) -> set[str]:
    return {finding.rule for finding in diagnose_evidence(evidence)}


def test_a_healthy_run_has_no_finding() -> None:
    assert diagnose_evidence(made_up(vitals=vitals_of(activity=[layer(dead=0.2)]))) == ()


def test_every_rule_can_be_silent_without_vitals() -> None:
    assert diagnose_evidence(made_up()) == ()


@pytest.mark.parametrize("gap", [0.0, 0.04, 0.06, 0.2])
def test_overfitting_is_a_gap_that_is_no_luck(gap: float) -> None:
    evidence = made_up(history(rising(0.99), rising(0.99 - gap)))
    assert ("overfitting" in rules_of(evidence)) == (gap > 0.05)


def test_a_gap_on_few_examples_may_be_luck() -> None:
    evidence = made_up(history(rising(0.75), rising(0.65)), val=predictions(0.65, 60), test=predictions(0.65, 60))
    assert "overfitting" not in rules_of(evidence)
    assert "noisy_validation" in rules_of(evidence)


def test_underfitting_is_training_that_is_not_learnt_though_validation_is_no_worse() -> None:
    assert "underfitting" in rules_of(made_up(history(rising(0.6), rising(0.6))))
    assert "underfitting" not in rules_of(made_up(history(rising(0.97), rising(0.97))))
    assert "underfitting" not in rules_of(made_up(history(rising(0.8), rising(0.6))))
    both = rules_of(made_up(history(rising(0.6), rising(0.5))))  # most of the errors are made in training already
    assert {"underfitting", "overfitting"} <= both


def test_a_run_that_ended_too_early_is_to_train_longer() -> None:
    loss = list(np.linspace(2.3, 1.0, 20))
    found = diagnose_evidence(made_up(history(rising(0.6), rising(0.6), loss)))
    (finding,) = [one for one in found if one.rule == "underfitting"]
    assert finding.changes == {"train.epochs": 40}


def test_nothing_learnt_is_training_and_validation_at_chance() -> None:
    flat = [0.1] * 20
    found = rules_of(made_up(history(flat, flat), val=predictions(0.1), test=predictions(0.1)))
    assert "not_learning" in found
    assert "labels_at_random" not in found


def test_few_examples_and_little_learnt_say_nothing_of_labels() -> None:
    learnt = history(rising(0.9), [0.1] * 20)
    few = rules_of(made_up(learnt, val=predictions(0.15, 20), test=predictions(0.2, 2000)))
    assert "labels_at_random" not in few
    little = rules_of(
        made_up(history(rising(0.2), [0.1] * 20), val=predictions(0.13, 300), test=predictions(0.13, 300))
    )
    assert "labels_at_random" not in little


def of_other_labels(seed: int, examples: int = 2000) -> Predictions:
    """Predictions that have nothing to do with the labels."""
    of = uncertain_predictions(examples, seed=seed)
    return dataclasses.replace(of, labels_N=np.random.default_rng(seed + 1000).permutation(of.labels_N))


def test_labels_that_say_nothing_are_learnt_by_heart() -> None:
    learnt = history(rising(0.9), [0.1] * 20)
    found = rules_of(made_up(learnt, val=of_other_labels(1), test=of_other_labels(2)))
    assert "labels_at_random" in found
    assert "not_learning" not in found
    # One that is at chance too, but whose probabilities know a little of the labels.
    knows = uncertain_predictions(600, seed=3)
    others_N = np.random.default_rng(0).integers(0, 10, size=600)
    labels_N = np.where(np.arange(600) < 550, others_N, knows.labels_N)
    evidence = made_up(learnt, val=dataclasses.replace(knows, labels_N=labels_N), test=of_other_labels(2))
    assert evidence.by_chance(evidence.record.metrics["val_accuracy"] or 0.0, "val")
    assert evidence.knows_of("val") > 5
    assert "labels_at_random" not in rules_of(evidence)


def test_the_best_epoch_was_long_ago() -> None:
    up_and_down = [*rising(0.9, 8), *np.linspace(0.9, 0.8, 12)]
    assert "best_epoch_early" in rules_of(made_up(history(rising(0.99), up_and_down)))
    kept = {"train": {"epochs": 20, "keep": "best"}}
    assert "best_epoch_early" not in rules_of(made_up(history(rising(0.99), up_and_down), recipe=kept))


def test_validation_better_than_training_is_explained() -> None:
    running = rising(0.8)
    found = diagnose_evidence(
        made_up(
            history(rising(0.96), rising(0.95), running_accuracy=running),
            recipe={"model": {"name": "mlp", "dropout": 0.5}},
        )
    )
    (finding,) = [one for one in found if one.rule == "validation_better"]
    assert finding.severity == "note"
    assert "dropout is on while training" in finding.cause.lower()


def test_divergence_says_where_it_began() -> None:
    losses = [2.3, 1.0, 0.9, 5.0, 80.0, None]
    evidence = made_up(
        history([0.5, 0.1], [0.5, 0.1], [1.0, 40.0]),
        vitals=vitals_of(losses=losses),
        status="diverged",
        diverged_at={"epoch": 2, "step": 555},
    )
    finding = diagnose_evidence(evidence)[0]
    assert finding.rule == "diverged"
    assert "step 300" in finding.title
    assert "step 555, in epoch 2" in finding.seen
    assert finding.changes == {"optimizer.lr": 0.005}
    assert finding.chart is not None
    assert finding.chart.mark == 300.0


def test_too_high_a_rate_moves_weights_far_and_gets_nowhere() -> None:
    stuck = history(rising(0.2), rising(0.2), [2.25] * 20)
    assert "rate_too_high" in rules_of(made_up(stuck, vitals=vitals_of(ratios=(0.2, 0.2, 0.2))))
    assert "rate_too_high" not in rules_of(made_up(stuck, vitals=vitals_of()))
    muon = {"optimizer": {"name": "muon"}, "model": {"name": "mlp", "widths": [16, 16]}}
    assert "rate_too_high" not in rules_of(made_up(stuck, vitals=vitals_of(ratios=(0.2, 0.2, 0.2)), recipe=muon))


def test_too_low_a_rate_leaves_weights_as_they_were() -> None:
    stuck = history(rising(0.15), rising(0.15), [2.29] * 20)
    found = diagnose_evidence(made_up(stuck, vitals=vitals_of(ratios=(1e-6, 1e-6, 1e-6))))
    (finding,) = [one for one in found if one.rule == "rate_too_low"]
    assert finding.changes == {"optimizer.lr": 5.0}
    assert "rate_too_low" not in rules_of(made_up(vitals=vitals_of(ratios=(1e-6, 1e-6, 1e-6))))


def test_oscillation_turns_back_and_forth() -> None:
    jumping = [*rising(0.8, 10), *([0.8, 0.7] * 5)]
    found = diagnose_evidence(made_up(history(rising(0.9), jumping), val=predictions(0.7)))
    (finding,) = [one for one in found if one.rule == "oscillation"]
    assert finding.changes == {"schedule": {"name": "cosine"}}
    climbing = list(np.linspace(0.1, 0.95, 20))
    assert "oscillation" not in rules_of(made_up(history(climbing, climbing)))


def test_a_plateau_is_a_loss_that_stands_still_at_an_undiminished_rate() -> None:
    loss = [2.3, 1.9, 1.6, 1.5, *([1.45] * 16)]
    still = history(rising(0.5), rising(0.5), loss)
    assert "plateau" in rules_of(made_up(still))
    falling = history(rising(0.5), rising(0.5), loss, lr=list(np.linspace(0.05, 0.0, 20)))
    assert "plateau" not in rules_of(made_up(falling))


@pytest.mark.parametrize(("dead", "severity"), [(0.3, None), (0.7, "warning"), (0.99, "severe")])
def test_dead_units(dead: float, severity: str | None) -> None:
    found = [
        one
        for one in diagnose_evidence(made_up(vitals=vitals_of(activity=[layer(dead=dead)])))
        if one.rule == "dead_units"
    ]
    assert [one.severity for one in found] == ([severity] if severity else [])
    few = made_up(vitals=vitals_of(activity=[layer(dead=dead)], examples=16))
    assert "dead_units" not in rules_of(few)


def test_saturated_units() -> None:
    assert "saturated_units" in rules_of(made_up(vitals=vitals_of(activity=[layer("saturating", saturated=0.8)])))
    assert "saturated_units" not in rules_of(made_up(vitals=vitals_of(activity=[layer("saturating", saturated=0.2)])))


def test_vanishing_gradients_matter_where_training_is_not_learnt() -> None:
    vitals = vitals_of(gradients=(1e-8, 1e-5, 1e-2))
    assert "vanishing_gradients" in rules_of(made_up(history(rising(0.5), rising(0.5)), vitals=vitals))
    assert "vanishing_gradients" not in rules_of(made_up(vitals=vitals))


def test_exploding_gradients() -> None:
    bursts = vitals_of(norms=[1.0, 1.0, 1.0, 5000.0, 1.0, 1.0])
    assert "exploding_gradients" in rules_of(made_up(vitals=bursts))
    clipped = {"train": {"epochs": 20, "clip_norm": 1.0}}
    assert "exploding_gradients" not in rules_of(made_up(vitals=bursts, recipe=clipped))
    large = made_up(vitals=vitals_of(norms=[80.0] * 6), recipe=clipped)
    (finding,) = [one for one in diagnose_evidence(large) if one.rule == "exploding_gradients"]
    assert finding.title == "Gradients are large throughout"
    assert "train.clip_norm" not in finding.changes


def test_batch_norm_over_tiny_batches() -> None:
    layers = b'{"rows": [["norm1", "BatchNorm1d", [16], 32, 32, 0, 64, null, null]]}'
    tiny = {"train": {"epochs": 20, "batch_size": 2}}
    assert "tiny_batches_with_batch_norm" in rules_of(made_up(recipe=tiny, layers=layers))
    assert "tiny_batches_with_batch_norm" not in rules_of(made_up(recipe=tiny))
    assert "tiny_batches_with_batch_norm" not in rules_of(made_up(layers=layers))


def test_weights_that_start_at_zero() -> None:
    assert "equal_units" in rules_of(made_up(vitals=vitals_of(weight=0.0)))


def test_an_initial_loss_far_from_guessing() -> None:
    assert "initial_loss" in rules_of(made_up(metrics={"initial_loss": 30.0}))
    assert "initial_loss" not in rules_of(made_up(metrics={"initial_loss": 2.6}))


def test_classes_that_are_never_predicted() -> None:
    of_val = predictions(0.96)
    probabilities_NC = np.full_like(of_val.probabilities_NC, 0.05)
    probabilities_NC[:, 3] = 0.55
    assert "class_collapse" in rules_of(made_up(val=dataclasses.replace(of_val, probabilities_NC=probabilities_NC)))


def soft(of: Predictions, highest: float) -> Predictions:
    """The same, as behind a second softmax."""
    scores_NC = of.probabilities_NC.astype(np.float64)
    scores_NC /= scores_NC.max()
    weights_NC = np.exp(scores_NC * highest)
    return dataclasses.replace(
        of, probabilities_NC=(weights_NC / weights_NC.sum(axis=1, keepdims=True)).astype(np.float32)
    )


def test_a_softmax_twice_cannot_be_sure() -> None:
    assert "softmax_twice" in rules_of(made_up(val=soft(predictions(0.96), 1.0), test=soft(predictions(0.96), 1.0)))
    assert "softmax_twice" not in rules_of(made_up(val=soft(predictions(0.96), 3.0), test=soft(predictions(0.96), 3.0)))


def test_scores_behind_a_relu_tie_at_their_lowest() -> None:
    of_val = predictions(0.96)
    scores_NC = np.maximum(np.log(of_val.probabilities_NC.astype(np.float64)) + 3.0, 0.0)
    weights_NC = np.exp(scores_NC)
    rectified = (weights_NC / weights_NC.sum(axis=1, keepdims=True)).astype(np.float32)
    assert "last_relu" in rules_of(made_up(val=dataclasses.replace(of_val, probabilities_NC=rectified)))


def test_validation_that_flatters() -> None:
    assert "validation_flatters" in rules_of(made_up(val=predictions(0.96), test=predictions(0.7)))
    assert "validation_flatters" not in rules_of(made_up(val=predictions(0.96), test=predictions(0.95)))


@settings(max_examples=25, deadline=None)
@given(rate=st.floats(0.2, 0.4), seed=st.integers(0, 1000))
def test_label_noise_is_found_and_its_share_estimated(rate: float, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def noisy(of: Predictions) -> Predictions:
        labels_N = of.labels_N.copy()
        drawn_N = rng.random(len(labels_N)) < rate
        labels_N[drawn_N] = rng.integers(0, 10, size=int(drawn_N.sum()))
        return dataclasses.replace(of, labels_N=labels_N)

    val, test = uncertain_predictions(seed=seed), uncertain_predictions(seed=seed + 1)
    (finding,) = [f for f in diagnose_evidence(made_up(val=noisy(val), test=noisy(test))) if f.rule == "label_noise"]
    told = float(finding.title.split("%")[0].rpartition(" ")[2]) / 100
    assert told == pytest.approx(rate, abs=0.05)
    assert "label_noise" not in rules_of(made_up(val=val, test=test))


def test_confusions_are_no_label_noise() -> None:
    assert "label_noise" not in rules_of(made_up(val=predictions(0.6), test=predictions(0.6)))


def test_every_finding_is_whole_and_its_cure_can_be_written_down() -> None:
    evidence = made_up(
        history(rising(0.99), rising(0.7)),
        vitals=vitals_of(activity=[layer(dead=0.9)], norms=[1.0, 1.0, 9999.0, 1.0, 1.0, 1.0]),
    )
    findings = diagnose_evidence(evidence)
    assert len(findings) >= 3
    for finding in findings:
        assert all((finding.rule, finding.title, finding.seen, finding.why, finding.cause, finding.cure))
        assert not finding.title.endswith(".")
        assert finding.seen.endswith(".")
        text = study_of_cure(finding, evidence.recipe)
        assert (text is None) == (not finding.changes)
        if finding.chart is not None:
            assert all(len(one.x) == len(one.y) for one in finding.chart.series)


def test_severe_findings_come_first() -> None:
    findings = diagnose_evidence(made_up(val=predictions(0.9), test=predictions(0.5), metrics={"train_accuracy": 1.0}))
    order = ["severe", "warning", "note"]
    assert [order.index(one.severity) for one in findings] == sorted(order.index(one.severity) for one in findings)
    assert len({rule.__name__ for rule in RULES}) == len(RULES)


def test_not_a_number_is_no_trouble() -> None:
    flat = [math.nan] * 4
    of_val = predictions(0.5)
    lost = dataclasses.replace(of_val, probabilities_NC=np.full_like(of_val.probabilities_NC, np.nan))
    evidence = made_up(
        tuple(dataclasses.replace(one, running_train_loss=None, train_loss=None) for one in history(flat, flat, flat)),
        val=lost,
        test=lost,
        vitals=vitals_of(losses=[None] * 6, norms=[None] * 6),
        status="diverged",
        diverged_at={"epoch": 4, "step": 399},
    )
    assert "diverged" in rules_of(evidence)
