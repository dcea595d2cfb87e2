"""Studies: arms, grids, leave-one-out and claims, and what is said when they do not fit together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.api import load
from assay.errors import InputError, InvalidValueError
from assay.recipe.schema import Recipe
from assay.studies.declared import contrast_text
from assay.studies.design import Study, single_run, slug

BASE = {"data": {"source": "digits"}, "model": {"name": "mlp", "dropout": 0.5, "norm": "batch"}}
ARMS = {"plain": {}, "wet": {"model.dropout": 0.0}}


def study(**keys: Any) -> Study:
    return Study.model_validate({"question": "Does it?", "base": BASE, "arms": ARMS, **keys})


def test_arms_change_the_base_and_nothing_else():
    made = study()
    assert [arm.name for arm in made.arms] == ["plain", "wet"]
    assert made.arm("plain").recipe.model.dropout == 0.5
    assert made.arm("wet").recipe == made.arm("plain").recipe.model_copy(update={"model": made.arm("wet").recipe.model})
    assert made.arm("wet").changes == {"model.dropout": 0.0}


def test_seeds_count_up_from_the_arms_first():
    made = study(arms={"a": {}, "b": {"seeds_from": 1000}})
    assert [made.arm("a").recipe_at(i).seed for i in range(3)] == [0, 1, 2]
    assert [made.arm("b").recipe_at(i).seed for i in range(3)] == [1000, 1001, 1002]


def test_extends_makes_a_ladder():
    made = study(
        arms={
            "sgd": {"optimizer": {"name": "sgd"}},
            "momentum": {"extends": "sgd", "optimizer.momentum": 0.9},
            "nesterov": {"extends": "momentum", "optimizer.nesterov": True, "model.dropout": 0},
            "adam": {"extends": "nesterov", "optimizer": {"name": "adam"}},
        }
    )
    assert made.arm("nesterov").recipe.optimizer.model_dump(exclude_unset=True) == {
        "name": "sgd", "momentum": 0.9, "nesterov": True,
    }  # fmt: skip
    assert made.arm("adam").recipe.optimizer.name == "adam"
    assert made.arm("adam").recipe.model.dropout == 0.0
    assert made.arm("adam").changes == {"model.dropout": 0, "optimizer": {"name": "adam"}}


def test_a_grid_crosses_its_factors():
    made = study(
        arms={},
        grid={"optimizer.lr": [0.1, 1e-2], "train.batch_size": [32, 64, 128]},
        base={**BASE, "optimizer": {"name": "sgd"}},
    )
    assert len(made.arms) == 6
    arm = made.arm("optimizer.lr=0.01, train.batch_size=64")
    assert (arm.recipe.optimizer.lr, arm.recipe.train.batch_size) == (0.01, 64)


def test_leave_one_out_takes_each_ingredient_away_and_claims_it_helped():
    made = study(arms={}, leave_one_out={"dropout": {"model.dropout": 0}, "norm": {"model.norm": "none"}})
    assert [arm.name for arm in made.arms] == ["full", "without dropout", "without norm"]
    assert [str(claim) for claim in made.comparisons] == [
        "full beats without dropout on val_accuracy",
        "full beats without norm on val_accuracy",
    ]


def test_claims_expand_lists_and_inherit_metric_and_margin():
    made = study(
        arms={"a": {}, "b": {"model.dropout": 0.1}, "c": {"model.dropout": 0.2}},
        metric="val_loss",
        margin={"val_loss": 0.05, "val_accuracy": 0.01},
        claims=[{"arm": "a", "beats": ["b", "c"]}, {"arm": "a", "matches": "b", "metric": "val_accuracy@3"}],
    )
    first, second, third = made.comparisons
    assert dict(first.weights) == {"a": 1.0, "b": -1.0}
    assert (second.than, second.metric.name, second.margin) == ("c", "val_loss", 0.05)
    assert (third.metric.epoch, third.margin) == (3, 0.01)


def test_a_contrast_is_any_weighing_that_sums_to_zero():
    made = study(
        arms={"a": {}, "b": {"model.dropout": 0.1}, "c": {"model.dropout": 0.2}},
        claims=[{"contrast": {"a": 1, "b": -0.5, "c": -0.5}, "beats": 0}],
    )
    (claim,) = made.comparisons
    assert (claim.arm, claim.than, claim.kind) == ("a − 0.5 · b − 0.5 · c", "0", "beats")


def test_a_metric_that_needs_a_key_can_be_claimed_about_where_arms_have_it():
    claims = [{"arm": "plain", "beats": "wet", "metric": "shift_consistency"}]
    (comparison,) = study(base={**BASE, "evaluate": {"shift": 1}}, claims=claims).comparisons
    assert comparison.metric.needs == "evaluate.shift"
    arms = {"plain": {"evaluate.shift": 1}, "wet": {"model.dropout": 0, "evaluate.shift": 1}, "other": {}}
    assert len(study(arms=arms, claims=claims).comparisons) == 1  # an arm it does not compare need not


def test_an_epoch_can_be_claimed_about_where_it_is_measured_or_needs_no_measurement():
    base = {**BASE, "evaluate": {"every": 3, "train_split": False}}
    for metric in ("val_accuracy@9", "val_loss@20", "running_train_loss@10", "weight_norm@1"):
        assert study(base=base, claims=[{"arm": "plain", "beats": "wet", "metric": metric}]).comparisons


def test_a_contrast_of_two_arms_is_their_difference_however_it_is_written():
    (comparison,) = study(claims=[{"contrast": {"wet": -1, "plain": 1}, "beats": 0}]).comparisons
    assert (comparison.arm, comparison.than) == ("plain", "wet")


def test_one_number_of_seeds_means_exactly_that_many():
    assert study(seeds=5).seeds.model_dump() == {"at_least": 5, "at_most": 5}


def test_what_is_saved_makes_the_same_study_again():
    made = study(
        grid={"optimizer.lr": [0.1, 0.2]},
        base={**BASE, "optimizer": {"name": "sgd"}},
        seeds={"at_most": 8},
        margin={"val_accuracy": 0.01},
        claims=[{"arm": "plain", "matches": "wet"}],
    )
    again = Study.model_validate(made.resolved())
    assert again.resolved() == made.resolved()
    assert again.arms == made.arms
    assert again.comparisons == made.comparisons


def test_a_single_recipe_is_a_study_of_one_run():
    recipe = Recipe.model_validate({**BASE, "seed": 41})
    made = single_run(recipe, "one")
    assert [arm.recipe_at(0) for arm in made.arms] == [recipe]
    assert (made.seeds.at_most, made.comparisons) == (1, ())


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("labs/Digits/drop out.yaml", "digits-drop-out"),
        ("con.yaml", "study-con"),
        ("….yaml", "study"),
        ("x" * 99 + "-y" * 20 + ".yaml", "x" * 99),
    ],
)
def test_a_file_that_states_no_name_has_one(tmp_path, file, name):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("base: {data: {source: digits}, model: {name: mlp}}\narms: {a: {}}\n")
    assert load(path).name == name


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"armss": {}}, 'armss is not a known key.\n  Did you mean "arms"?'),
        ({"arms": {}}, "arms is missing: a study needs at least one arm"),
        (
            {"arms": {"a": {"model.dropuot": 1}}},
            'arms.a.model.dropuot is not a known key of mlp.\n  Did you mean "dropout"?',
        ),
        ({"arms": {"a": {"model.dropout": 2}}}, "arms.a.model.dropout must be less than 1.0, got 2."),
        (
            {"arms": {"a": {"model": {"name": "mlp", "widths": [0]}}}},
            "arms.a.model.widths[0] must be at least 1, got 0.",
        ),
        ({"arms": {"a": {"seed": 3}}}, "arms.a.seed does not belong in a study"),
        ({"arms": {"a": {"seeds_from": -1}}}, "arms.a.seeds_from must be a whole number from 0 to"),
        ({"arms": {"a": {"seeds_from": True}}}, "arms.a.seeds_from must be a whole number"),
        ({"arms": {"a": {"extends": "b"}}}, "arms.a.extends names no arm of arms:, got 'b'."),
        ({"arms": {"a": {"extends": "b"}, "b": {"extends": "a"}}}, "extends goes in a circle: a -> b -> a."),
        ({"arms": {"a": {}, "b": {}}}, "arms.b is the same recipe as arm 'a' with the same seeds"),
        ({"arms": {"a": {}, "b": {"seeds_from": 5}}}, "Change a key, or give it own seeds: seeds_from: 1000."),
        ({"arms": {"\n": {}}}, "must have a name of 1 to 300 printable characters"),
        ({"arms": {"a ": {}}}, "without blanks at its ends, got 'a '."),
        (
            {"arms": {"full": {}}, "leave_one_out": {"d": {"model.dropout": 0}}},
            "makes an arm 'full' that exists already",
        ),
        (
            {"grid": {"optimizer.lr": list(range(1, 40)), "train.epochs": list(range(1, 40))}},
            "at most 1,000 arms, got 1,521",
        ),
        ({"grid": {"optimizer.lr": []}}, "grid.optimizer.lr must have at least 1 entries, got []."),
        ({"grid": {"optimizer.lr": 3}}, "grid.optimizer.lr must be a list, got 3."),
        ({"base": {"model": {"name": "mlp"}}}, "base.data is missing; it has no default."),
        ({"base": {**BASE, "train": {"epochs": -1}}}, "base.train.epochs must be at least 0, got -1."),
        ({"base": []}, "base must be a mapping, got []."),
        ({"seeds": 4}, "seeds.at_least must be 1, 2, or a count at which claims are looked at"),
        ({"seeds": {"at_least": 8, "at_most": 5}}, "seeds.at_least must not exceed seeds.at_most, got 8 and 5."),
        ({"seeds": "five"}, "seeds must be a whole number or {at_least: 3, at_most: 20}, got 'five'."),
        ({"seeds": 3.0}, "seeds must be a whole number or {at_least: 3, at_most: 20}, got 3.0."),
        ({"arms": {"a": {}, "b": {"extend": "a"}}}, 'arms.b.extend is not a known key.\n  Did you mean "extends"?'),
        (
            {"arms": {"a": {"sed": 1}}},
            "arms.a.sed is not a known key.\n  Valid: augment, averaging, data, evaluate, extends, freeze, init, loss,",
        ),
        ({"arms": {"a": {"optimiser.lr": 1}}}, "arms.a.optimiser.lr is not a known key."),
        (
            {"arms": {}, "leave_one_out": {"d": {"model.dropout": 0.5}}},
            "leave_one_out.d makes arm 'without d', which is the same recipe as arm 'full' with the same seeds, so "
            "there is nothing to compare.\n  Change a key.",
        ),
        ({"leave_one_out": {"": {"model.dropout": 0.1}}}, "must have a name of 1 to 300 printable characters without"),
        (
            {"arms": {"a": {"optimizer": "sgd"}}},
            "arms.a.optimizer must be a mapping, got 'sgd'.\n  Write {name: sgd}.",
        ),
        (
            {"arms": {"a": {"model.name": "nets"}}},
            "has an unknown name, got 'nets'.\n  Did you mean \"lenet5\"? A class of your own is written "
            "package.module:Class.",
        ),
        ({"name": "con"}, "name must be no device name of Windows, got 'con'.\n  Try \"study-con\"."),
        (
            {"margin": {"val_acuracy": 0.01}},
            "names no recorded metric, got 'val_acuracy'.\n  Did you mean \"val_accuracy\"?",
        ),
        ({"margin": {"val_accuracy": 0}}, "margin.val_accuracy must be greater than 0, got 0."),
        ({"metric": "speed"}, "metric names no recorded metric, got 'speed'."),
        ({"name": "My Study!"}, "name must be a slug, got 'My Study!'.\n  Try \"my-study\"."),
        (
            {"claims": [{"arm": "plane", "beats": "wet"}]},
            "claims[0].arm names no arm, got 'plane'.\n  Did you mean \"plain\"?",
        ),
        ({"claims": [{"arm": "plain", "beats": ["wet", "wte"]}]}, "claims[0].beats[1] names no arm, got 'wte'."),
        ({"claims": [{"arm": "plain", "beats": "plain"}]}, "claims[0].beats compares arm 'plain' with itself."),
        ({"claims": [{"arm": "plain"}]}, "claims[0] needs either 'beats' or 'matches', and not both."),
        ({"claims": [{"beats": "wet"}]}, "claims[0] needs either 'arm' or 'contrast', and not both."),
        (
            {"claims": [{"arm": "plain", "matches": "wet"}]},
            "claims[0].matches claims that nothing that matters changes",
        ),
        ({"claims": [{"arm": "plain", "beats": "wet"}] * 2}, "claims[1].beats repeats an earlier claim"),
        (
            {"claims": [{"arm": "plain", "beats": "wet", "metric": "test_loss@3"}]},
            "only metrics kept per epoch have one",
        ),
        ({"claims": [{"arm": "plain", "beats": "wet", "metric": "val_loss@99"}]}, "but arm 'plain' trains 20 epochs"),
        (
            {
                "arms": {"moved": {"evaluate.shift": 1}, "plain": {}},
                "claims": [{"arm": "moved", "beats": "plain", "metric": "shift_consistency"}],
            },
            "claims[0].beats asks for shift_consistency, which needs evaluate.shift, and arm 'plain' has "
            "0.\n  Set evaluate.shift in the base, so that every arm has it.",
        ),
        (
            {"arms": {}, "leave_one_out": {"norm": {"model.norm": "none"}}, "metric": "shifted_test_accuracy"},
            "leave_one_out.norm asks for shifted_test_accuracy, which needs evaluate.shift, and arm 'full' has 0.",
        ),
        (
            {
                "base": {**BASE, "evaluate": {"train_split": False}},
                "claims": [{"arm": "plain", "beats": "wet", "metric": "accuracy_gap"}],
            },
            "claims[0].beats asks for accuracy_gap, which needs evaluate.train_split, and arm 'plain' has "
            "false.\n  Set evaluate.train_split in the base, so that every arm has it.",
        ),
        (
            {
                "base": {**BASE, "evaluate": {"train_split": False}},
                "claims": [{"arm": "plain", "beats": "wet", "metric": "train_loss@3"}],
            },
            "claims[0].beats asks for train_loss@3, which needs evaluate.train_split, and arm 'plain' has false.",
        ),
        (
            {
                "base": {**BASE, "train": {"epochs": 0}},
                "claims": [{"arm": "plain", "beats": "wet", "metric": "gradient_norm"}],
            },
            "claims[0].beats asks for gradient_norm, which needs train.epochs, and arm 'plain' has 0.",
        ),
        (
            {
                "base": {**BASE, "train": {"epochs": 0}},
                "claims": [{"arm": "plain", "beats": "wet", "metric": "val_accuracy@1"}],
            },
            "claims[0].beats asks for val_accuracy@1, but arm 'plain' trains 0 epochs.",
        ),
        (
            {
                "base": {**BASE, "evaluate": {"every": 3}},
                "claims": [{"arm": "plain", "beats": "wet", "metric": "val_accuracy@10"}],
            },
            "claims[0].beats asks for val_accuracy@10, but arm 'plain' is measured every 3 epochs and after its "
            "last.\n  Ask for epoch 9 or 12, or set evaluate.every to 1.",
        ),
        (
            {
                "base": {**BASE, "evaluate": {"every": 30}},
                "claims": [{"arm": "plain", "beats": "wet", "metric": "train_accuracy@10"}],
            },
            "\n  Ask for epoch 20, or set evaluate.every to 1.",
        ),
        ({"claims": [{"contrast": {"plain": 1, "wet": 1}, "beats": 0}]}, "with weights that sum to 0, got"),
        ({"claims": [{"contrast": {"plain": 1, "wet": -1}, "beats": "wet"}]}, "must be 0 for a contrast, got 'wet'."),
        ({"claims": [{"contrast": {"plain": 1, "wte": -1}, "beats": 0}]}, "claims[0].contrast.wte names no arm"),
        ({"claims": {"arm": "plain"}}, "claims must be a list"),
    ],
)
def test_mistakes_are_explained(keys, message):
    with pytest.raises(InvalidValueError) as caught:
        study(**keys)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_an_unknown_arm_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"has no arm 'wett'\. Did you mean \"wet\""):
        study().arm("wett")


@given(st.text(max_size=60))
def test_slugs_are_stable_and_safe(text):
    made = slug(text)
    assert slug(made) == made
    assert not set(made) & set("/\\.: \n\0")


@given(st.dictionaries(st.sampled_from("abcd"), st.sampled_from([-1.0, -0.5, 0.5, 1.0, 2.0]), min_size=1))
def test_contrasts_read_like_sums(weights):
    text = contrast_text(weights)
    assert all(name in text for name in weights)
    assert text.count("−") == sum(weight < 0 for weight in weights.values())
