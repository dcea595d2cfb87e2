"""Studies that start from weights of a file: its content names the runs, and what does not fit ends them before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import assay

LENET = {"name": "lenet5", "norm": "batch"}


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ASSAY_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv("ASSAY_DATA", raising=False)
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)


def study(arms, **base):
    return assay.Study(
        question="?",
        base={"data": {"source": "digits"}, "model": LENET, "train": {"epochs": 1}, **base},
        arms=arms,
        seeds={"at_least": 1, "at_most": 1},
        name="tuned",
    )


def run(made, tmp_path):
    return assay.run(made, store=tmp_path / "store", executor="inline", device="cpu")


@pytest.fixture
def trained(tmp_path):
    """Weights of a run, as a store keeps them, among the weight folders."""
    results = run(study({"first": {}}), tmp_path)
    kept = next((tmp_path / "store" / "runs").glob("*/weights.safetensors"))
    (tmp_path / "weights" / "first.safetensors").write_bytes(kept.read_bytes())
    return results.runs["first"][0]


FROM_FIRST = {"pretrained.weights": "first.safetensors"}


def test_a_run_starts_where_another_ended(trained, tmp_path):
    measured = run(study({"again": {**FROM_FIRST, "train.epochs": 0}}), tmp_path).runs["again"][0]
    assert measured.record.metrics["test_accuracy"] == trained.record.metrics["test_accuracy"]
    facts = measured.record.pretrained
    assert facts["file"] == "first.safetensors"
    assert facts["head"] == {"layer": "output", "loaded": True}
    assert facts["missing"] == facts["unexpected"] == []
    assert set(facts["loaded"]) == set(load_file(tmp_path / "weights" / "first.safetensors"))
    assert measured.record.notes[0] == (
        f"Started from first.safetensors (SHA-256 {facts['sha256'][:12]}…): {len(facts['loaded'])} tensors loaded."
    )
    assert trained.record.pretrained == {}


def test_where_the_file_lies_names_no_run_and_what_is_in_it_does(trained, tmp_path):
    made = study({"tuned": {**FROM_FIRST, "freeze.depth": 2}})
    first = run(made, tmp_path)
    (tmp_path / "elsewhere.safetensors").write_bytes((tmp_path / "weights" / "first.safetensors").read_bytes())
    moved = study({"tuned": {"pretrained.weights": str(tmp_path / "elsewhere.safetensors"), "freeze.depth": 2}})
    assert run(moved, tmp_path).fingerprints == first.fingerprints
    weights = load_file(tmp_path / "weights" / "first.safetensors")
    weights["conv1.bias"] = weights["conv1.bias"] + np.float32(0.1)
    save_file(weights, tmp_path / "weights" / "first.safetensors")
    assert run(made, tmp_path).fingerprints != first.fingerprints


def test_runs_that_are_in_the_store_need_no_torch(trained, tmp_path):
    file = tmp_path / "tuned.yaml"
    file.write_text(
        "data: {source: digits}\nmodel: {name: lenet5, norm: batch}\npretrained: {weights: first.safetensors}\n"
        "freeze: {all_but: [head]}\ntrain: {epochs: 1}\n"
    )
    code = (
        "import sys, assay\n"
        f"results = assay.run(assay.load({str(file)!r}), store={str(tmp_path / 'store')!r}, executor='inline')\n"
        "assert len(results.runs['run']) == 1\n"
        "sys.exit('torch' in sys.modules)"
    )
    run(assay.load(file), tmp_path)
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"pretrained.weights": "none.pth"},
            "pretrained.weights 'none.pth' was not found, or is no file. Looked in:",
        ),
        (
            {**FROM_FIRST, "model.norm": "none"},
            "arm bad: pretrained.weights must fit all of the model but its head, got first.safetensors: ",
        ),
        (
            {"model": {"name": "torchvision:resnet19"}},
            "arm bad: model.name must name a classifier of torchvision, got torchvision:resnet19.\n  Did you mean ",
        ),
        (
            {"model": {"name": "fast_cifar"}},
            "arm bad: model.name fast_cifar needs images of at least 9×9 pixels, got inputs of shape (1, 8, 8).",
        ),
        (
            {"model": {"name": "cifar_resnet", "depth": 8}, "train.batch_size": 1},
            "arm bad: train.batch_size must be at least 2 for a model with batch normalisation, got 1.",
        ),
        (
            {"optimizer.lr_factors": {"features.*": 0.1}},
            "arm bad: optimizer.lr_factors.features.* must fit the name of a parameter that is trained, and fits none.",
        ),
        (
            {"model": {"name": "cifar_resnet", "depth": 8}, "optimizer": {"name": "muon", "lr_factors": {"fc": 0.1}}},
            "arm bad: optimizer.lr_factors.fc must fit the name of a parameter that is trained, and fits none.",
        ),
        (
            {"train.smaller_first": [{"epochs": 1, "side": 8}]},
            "arm bad: train.smaller_first[0].side must be less than the images' shorter side, 8 pixels, got 8.",
        ),
        (
            {"freeze.layers": ["convolution1"]},
            "arm bad: freeze.layers must fit the names of layers or parameters of the model, got convolution1, which ",
        ),
        (
            {"freeze.layers": ["*"]},
            "arm bad: freeze.layers must leave something to train, and freezes all ",
        ),
    ],
    ids=[
        "missing",
        "other model",
        "no such classifier",
        "images too small",
        "batches of one",
        "no such parameter",
        "no such parameter for Muon",
        "no smaller images",
        "no such layer",
        "nothing left",
    ],
)
def test_what_cannot_be_started_from_ends_a_study_before_its_first_run(trained, tmp_path, changes, message):
    with pytest.raises(assay.InputError) as caught:
        run(study({"good": {"train.batch_size": 32}, "bad": changes}), tmp_path)
    assert str(caught.value).startswith(message)
    kept = [path.name for path in (tmp_path / "store" / "runs").iterdir()]
    assert kept == [trained.record.fingerprint]
    assert not (tmp_path / "store" / "failed").exists()


def test_a_single_arm_is_not_named(trained, tmp_path):
    with pytest.raises(assay.InvalidValueError, match=r"^freeze\.layers must fit the names"):
        run(study({"only": {"freeze.layers": ["nothing"]}}), tmp_path)


def test_weights_with_code_end_a_study_before_its_first_run(tmp_path):
    import torch

    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "weights" / "whole.pth")
    with pytest.raises(assay.DataError, match=r"whole\.pth holds torch\.nn\.modules\.linear\.Linear, and assay reads "):
        run(study({"only": {"pretrained.weights": "whole.pth"}}), tmp_path)


def test_the_report_tells_what_was_loaded_and_how_much_is_trained(trained, tmp_path):
    results = run(study({"all": FROM_FIRST, "head": {**FROM_FIRST, "freeze.all_but": ["head"]}}), tmp_path)
    record = results.runs["head"][0].record
    assert record.trainable_parameters == 84 * 10 + 10
    page = assay.report(results).read_text(encoding="utf-8")
    assert "tensors loaded" in page
    assert "850 trained</span>" in page
    assert f'<td class="num">850</td><td class="num">{record.parameters - 850:,}</td>' in page
    tables = Path(assay.report(results)).parent / "tables"
    header, first, second = (tables / "arms.csv").read_text().splitlines()
    columns = header.split(",")
    place, frozen = columns.index("trainable_parameters_mean"), columns.index("parameters_mean")
    assert float(second.split(",")[place]) == 850
    assert first.split(",")[place] == first.split(",")[frozen]
