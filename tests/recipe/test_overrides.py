"""Dotted keys: what arms change, and what --set says."""

from __future__ import annotations

import pytest

from assay.errors import InputError, InvalidValueError
from assay.recipe.overrides import Draft, set_values
from assay.recipe.reading import Document, parse


def document(text: str) -> Document:
    data, lines = parse(text, "study.yaml")
    return Document("study.yaml", data, lines)


STUDY = """\
base:
  model: {name: mlp, widths: [256, 256]}
  train: {epochs: 40}
arms:
  plain: {}
  dropout 0.5: {model.dropout: 0.5}
  lr=0.1: {optimizer.lr: 0.1}
claims:
  - {arm: dropout 0.5, matches: plain}
"""


@pytest.mark.parametrize(
    ("words", "path", "value"),
    [
        ("base.train.epochs=2", ("base", "train", "epochs"), 2),
        ("base.optimizer.lr=1e-2", ("base", "optimizer", "lr"), 0.01),
        ("base.model.widths=[64, 64]", ("base", "model", "widths"), [64, 64]),
        ("base.model.widths.1=32", ("base", "model", "widths", 1), 32),
        ("arms.dropout 0.5.model.dropout=0.7", ("arms", "dropout 0.5", "model.dropout"), 0.7),
        ("arms.plain.optimizer.lr=0.1", ("arms", "plain", "optimizer.lr"), 0.1),
        ("arms.new={model.dropout: 0.1}", ("arms", "new"), {"model.dropout": 0.1}),
        ("claims.0.metric=val_loss", ("claims", 0, "metric"), "val_loss"),
        ("seeds.at_most=5", ("seeds", "at_most"), 5),
        ("grid.optimizer.lr=[1, 2]", ("grid", "optimizer.lr"), [1, 2]),
        ("question=a=b", ("question",), "a=b"),
        ("arms.lr=0.1.optimizer.lr=0.2", ("arms", "lr=0.1", "optimizer.lr"), 0.2),
        ("arms.lr=0.1={seeds_from: 7}", ("arms", "lr=0.1"), {"seeds_from": 7}),
    ],
)
def test_set_finds_the_value_by_its_dotted_path(words, path, value):
    study = document(STUDY)
    set_values(study, [words])
    found = study.data
    for step in path:
        found = found[step]
    assert found == value
    assert study.place(path) == f"--set {words}"


def test_the_last_of_two_words_for_one_key_wins():
    study = document(STUDY)
    set_values(study, ["base.train.epochs=2", "base.train.epochs=3"])
    assert study.data["base"]["train"]["epochs"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("base.train.epochs", "--set needs KEY=VALUE"),
        ("=3", "--set needs KEY=VALUE"),
        ("arms.nope.model.dropout=1", "there is no arm 'nope'. Valid: dropout 0.5, lr=0.1, plain."),
        ("arms.dropout 0.6.model.dropout=1", "there is no arm"),
        ("claims.7.metric=val_loss", "'7' is no position in a list of 1, counted from 0."),
        ("base.train.epochs.x=1", "'x' goes below 'epochs', which is no mapping but 40."),
        ("base.model.widths=[1", "is not valid YAML"),
        ("base.model=!!python/name:os.system x", "uses the tag"),
    ],
)
def test_set_words_that_lead_nowhere_are_refused(words, message):
    with pytest.raises(InputError) as caught:
        set_values(document(STUDY), [words])
    assert message in str(caught.value)


def test_a_section_replaces_and_a_dotted_key_edits():
    draft = Draft()
    draft.apply({"optimizer": {"name": "sgd", "momentum": 0.9}, "model.dropout": 0.1}, ("base",))
    draft.apply({"optimizer.lr": 1, "optimizer": {"name": "adam"}}, ("arms", "a"))
    assert draft.data == {"optimizer": {"name": "adam", "lr": 1}, "model": {"dropout": 0.1}}


def test_origins_follow_the_last_writer():
    draft = Draft()
    draft.apply({"model": {"name": "mlp", "dropout": 0.1}}, ("base",))
    draft.apply({"model.dropout": 0.2}, ("arms", "a"))
    assert draft.origin(("model", "dropout")) == ("arms", "a", "model.dropout")
    assert draft.origin(("model", "name")) == ("base", "model", "name")
    assert draft.origin(("train", "epochs")) == ("base", "train", "epochs")


def test_a_section_written_by_dotted_keys_stands_where_they_do():
    draft = Draft()
    draft.apply({"optimiser.lr": 0.2}, ("arms", "a"))
    assert draft.origin(("optimiser",)) == ("arms", "a", "optimiser.lr")


def test_changes_do_not_leak_between_copies():
    base = Draft()
    base.apply({"model": {"widths": [1]}}, ("base",))
    twin = base.copy()
    twin.apply({"model.widths": [2]}, ("arms", "a"))
    assert base.data == {"model": {"widths": [1]}}


@pytest.mark.parametrize("key", ["", ".", "model.", ".dropout", "model..dropout"])
def test_empty_parts_of_a_key_are_refused(key):
    with pytest.raises(InvalidValueError, match="has an empty part between its dots"):
        Draft().apply({key: 1}, ("arms", "a"))
