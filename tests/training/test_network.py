"""A network starts from the weights its recipe names, wherever they come from, and is frozen after that."""

from __future__ import annotations

import hashlib
import io
import json
from importlib.metadata import version

import pytest
import torch
from safetensors.torch import save_file

from assay.errors import InvalidValueError
from assay.models.build import build_model
from assay.recipe.schema import Pretrained, Recipe
from assay.training.describe import check_model
from assay.training.network import Network, build_network, expect_inputs_of, started
from assay.training.prepare import prepare_data
from serving import serving


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ASSAY_DATA", raising=False)
    monkeypatch.delenv("ASSAY_WEIGHTS", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)


def recipe(name="lenet5", **sections):
    return Recipe.model_validate({"data": {"source": "digits"}, "model": {"name": name}, **sections})


def network(made):
    return build_network(made, prepare_data(made, torch.device("cpu")))


def test_without_weights_and_freezing_a_network_is_as_it_was_built():
    made = recipe()
    ours = network(made)
    plain = build_model(made.model, made.init, seed=0, input_shape=(1, 8, 8), classes=10)
    assert (ours.pretrained, ours.notes) == ({}, ())
    assert all(torch.equal(a, b) for a, b in zip(ours.model.parameters(), plain.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in ours.model.parameters())


def test_weights_are_loaded_and_then_frozen(tmp_path):
    state = network(recipe(init={"name": "kaiming"})).model.state_dict()
    save_file({name: tensor for name, tensor in state.items() if "linear2" not in name}, tmp_path / "w.safetensors")
    made = recipe(pretrained={"weights": "w.safetensors", "partial": True}, freeze={"depth": 2})
    ours = network(made)
    sha256 = hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    assert ours.pretrained == {
        "file": "w.safetensors",
        "sha256": sha256,
        "head": {"layer": "output", "loaded": True},
        "loaded": [name for name in state if "linear2" not in name],
        "missing": ["linear2.weight", "linear2.bias"],
        "unexpected": [],
        "other_shape": {},
        "adapted": {},
    }
    assert ours.notes == (
        f"Started from w.safetensors (SHA-256 {sha256[:12]}…): 8 tensors loaded, 2 that the model has are missing.",
    )
    assert torch.equal(ours.model.state_dict()["conv1.weight"], state["conv1.weight"])
    assert torch.equal(
        ours.model.state_dict()["linear2.weight"], network(recipe()).model.state_dict()["linear2.weight"]
    )
    trained = {name for name, parameter in ours.model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name in state if not name.startswith("conv")}
    with pytest.raises(InvalidValueError, match=r"w\.safetensors: it lacks 2 of the model's tensors \(linear2\.weight"):
        check_model(made.model_copy(update={"pretrained": made.pretrained.model_copy(update={"partial": False})}))


def test_weights_that_torchvision_publishes_are_downloaded_and_loaded(tmp_path, monkeypatch):
    made = recipe("torchvision:squeezenet1_1", pretrained={"weights": "torchvision"}, freeze={"all_but": ["head"]})

    def built(seed, classes):
        return build_model(made.model, made.init, seed=seed, input_shape=(3, 64, 64), classes=classes)

    published = built(1, 1000).state_dict()
    file = io.BytesIO()
    torch.save(published, file)
    content = file.getvalue()
    name = f"squeezenet1_1-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    memory = tmp_path / "cache" / "torchvision-weights.json"
    memory.parent.mkdir()
    addresses = {"squeezenet1_1": f"https://download.pytorch.org/models/{name}"}
    memory.write_text(json.dumps({"torchvision": version("torchvision"), "addresses": addresses}))
    with serving({f"/torchvision/{name}": content}) as (address, asked):
        monkeypatch.setenv("ASSAY_MIRROR", address)
        ours: Network = started(built(0, 15), made)
        assert asked == [f"/torchvision/{name}"]
    assert torch.equal(ours.model.state_dict()["features.0.weight"], published["features.0.weight"])
    assert ours.pretrained["head"] == {"layer": "classifier.1", "loaded": False}
    assert ours.pretrained["file"] == name
    assert sum(parameter.numel() for parameter in ours.model.parameters() if parameter.requires_grad) == 513 * 15


@pytest.mark.parametrize("channels", [3, 1])
def test_googlenet_changes_colour_images_as_its_published_weights_expect(channels):
    made = recipe("torchvision:googlenet")
    ours = build_model(made.model, made.init, seed=0, input_shape=(channels, 32, 32), classes=10).eval()
    expect_inputs_of(ours, Pretrained(weights="torchvision"))
    seen = []
    ours.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x_BCHW = torch.randn(2, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    ours(x_BCHW)
    mean, deviation = (torch.tensor(of).view(3, 1, 1) for of in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    expected = ((x_BCHW * deviation + mean) - 0.5) / 0.5 if channels == 3 else x_BCHW
    assert torch.allclose(seen[0], expected, atol=1e-5)


def test_other_networks_take_inputs_as_they_are():
    made = recipe("torchvision:resnet18")
    ours = build_model(made.model, made.init, seed=0, input_shape=(3, 32, 32), classes=10)
    expect_inputs_of(ours, Pretrained(weights="torchvision"))
    assert not hasattr(ours, "transform_input")
