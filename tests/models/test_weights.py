"""Weights go where they belong, what does not fit is told, and what is adapted computes the same."""

import pytest
import torch
from torch import nn
from torchvision.models import DenseNet

from assay.data.weight_files import weight_file
from assay.errors import DataError, InvalidValueError
from assay.models.build import build_model
from assay.models.stored_tensors import read_tensors
from assay.models.weights import load_weights
from assay.recipe.schema import Recipe


class Net(nn.Module):
    def __init__(self, channels=3, width=4, classes=5, head="fc"):
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.add_module(head, nn.Linear(width, classes))
        self._head = head

    def forward(self, x_BCHW):
        return self.get_submodule(self._head)(self.norm(self.stem(x_BCHW)).mean(dim=(2, 3)))


def net(seed=0, **arguments):
    torch.manual_seed(seed)
    made = Net(**arguments)
    with torch.no_grad():
        made.norm.running_mean.normal_()
        made.norm.weight.normal_()
    return made.eval()


def load(model, tensors, partial=False):
    return load_weights(model, tensors, file="w.pth", partial=partial)


def error_of(model, tensors, partial=False):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InvalidValueError) as caught:
        load(model, tensors, partial)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    return str(caught.value)


NAMES = tuple(Net().state_dict())
BODY = tuple(name for name in NAMES if not name.startswith("fc."))


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "backbone.", "module._orig_mod.model."])
def test_the_same_network_gives_the_same_scores(prefix):
    model, x_BCHW = net(1), torch.randn(2, 3, 8, 8)
    found = load(model, {prefix + name: tensor for name, tensor in net(0).state_dict().items()})
    assert found.loaded == NAMES
    assert (found.missing, found.unexpected, found.other_shape, found.adapted) == ((), (), {}, {})
    assert found.head == ("fc", True)
    assert torch.equal(model(x_BCHW), net(0)(x_BCHW))


def test_prefixes_of_a_part_alone_are_taken_off_too():
    state = net(0).state_dict()
    mixed = {name if name.startswith("fc") else f"backbone.{name}": tensor for name, tensor in state.items()}
    assert load(net(1), mixed).loaded == NAMES


def test_a_network_whose_own_names_have_the_prefix_keeps_it():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = Net()

    model = Wrapped()
    assert load(model, {f"model.{name}": tensor for name, tensor in net(0).state_dict().items()}).missing == ()
    assert torch.equal(model.model.stem.weight, net(0).stem.weight)


def test_of_two_copies_the_one_without_prefix_is_taken():
    state = net(0).state_dict()
    both = {f"model.{name}": tensor + 1 for name, tensor in state.items()} | state
    model = net(1)
    found = load(model, both, partial=True)
    assert torch.equal(model.stem.weight, net(0).stem.weight)
    assert set(found.unexpected) == {f"model.{name}" for name in NAMES if "num_batches" not in name}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_other_types_are_cast(dtype):
    model = net(1)
    state = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in net(0).state_dict().items()
    }
    load(model, state)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32, torch.int64}
    assert torch.equal(model.stem.weight, net(0).stem.weight.to(dtype).float())


def test_the_count_of_batches_may_be_missing_or_left_over():
    state = net(0).state_dict()
    del state["norm.num_batches_tracked"]
    found = load(net(1), {**state, "other.num_batches_tracked": torch.tensor(3)})
    assert (found.missing, found.unexpected) == ((), ())


def test_a_head_for_other_classes_starts_anew():
    model = net(1, classes=7)
    before = model.fc.weight.clone()
    found = load(model, net(0).state_dict())
    assert found.loaded == BODY
    assert found.other_shape == {"fc.weight": ((5, 4), (7, 4)), "fc.bias": ((5,), (7,))}
    assert found.head == ("fc", False)
    assert torch.equal(model.fc.weight, before)
    assert found.sentence() == f"{len(BODY)} tensors loaded, the head fc starts anew"


@pytest.mark.parametrize(("classes", "loaded"), [(5, NAMES), (7, BODY)])
def test_a_head_of_another_name_is_known_as_such(classes, loaded):
    state = net(0, head="linear").state_dict()
    model = net(1, classes=classes)
    found = load(model, state)
    assert found.loaded == loaded
    assert found.unexpected == ()
    assert torch.equal(model.fc.weight, net(0).fc.weight) == (classes == 5)


def test_of_two_layers_that_may_be_its_head_none_is_taken():
    state = net(0, head="linear").state_dict()
    state |= {f"last_linear.{name}": tensor * 2 for name, tensor in net(0).fc.state_dict().items()}
    model = net(1)
    before = model.fc.weight.clone()
    found = load(model, state, partial=True)
    assert found.head == ("fc", False)
    assert torch.equal(model.fc.weight, before)


def test_a_file_without_head_leaves_it_to_be_trained():
    state = {name: tensor for name, tensor in net(0).state_dict().items() if name in BODY}
    found = load(net(1), state)
    assert found.loaded == BODY
    assert found.missing == ("fc.weight", "fc.bias")


def test_half_a_head_is_not_loaded():
    state = {name: tensor for name, tensor in net(0).state_dict().items() if name != "fc.weight"}
    model = net(1)
    before = model.fc.bias.clone()
    found = load(model, state)
    assert found.loaded == BODY
    assert torch.equal(model.fc.bias, before)
    assert found.head == ("fc", False)


def test_heads_for_training_alone_are_passed_over():
    state = {**net(0).state_dict(), "aux1.fc.weight": torch.zeros(2, 2), "AuxLogits.conv.weight": torch.zeros(2)}
    assert load(net(1), state).unexpected == ()


def test_published_names_of_dense_nets_are_understood():
    models = [DenseNet(growth_rate=2, block_config=(2, 1), num_init_features=4, num_classes=3) for _ in range(2)]
    old = {}
    for name, tensor in models[0].state_dict().items():
        layer, _, rest = name.partition("denselayer")
        for kind in ("norm", "conv"):
            rest = rest.replace(f".{kind}1.", f".{kind}.1.").replace(f".{kind}2.", f".{kind}.2.")
        old[f"{layer}denselayer{rest}" if rest else name] = tensor
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    found = load(models[1], old)
    assert (found.missing, found.unexpected) == ((), ())
    same = zip(models[0].parameters(), models[1].parameters(), strict=True)
    assert all(torch.equal(first, second) for first, second in same)


# --- what does not fit ------------------------------------------------------------------------------------------------


def test_beyond_the_head_everything_must_fit():
    state = net(0, width=6).state_dict()
    del state["norm.bias"]
    state["extra.weight"] = torch.zeros(2)
    assert error_of(net(1, channels=6), {**state, "norm.weight": torch.zeros(4)}) == (
        "pretrained.weights must fit all of the model but its head, got w.pth: it lacks 1 of the model's tensors "
        "(norm.bias); 4 have another shape (stem.weight (6, 3, 3, 3) for (4, 6, 3, 3), stem.bias (6,) for (4,), "
        "norm.running_mean (6,) for (4,), norm.running_var (6,) for (4,)); 1 are of no use to it (extra.weight).\n"
        "  Choose the model that these weights are of, or set pretrained.partial to true, and what is missing starts "
        "as init says."
    )


def test_partly_fitting_weights_are_loaded_where_they_fit_if_asked():
    model, before = net(1), net(1)
    state = {"stem.weight": net(0).stem.weight, "norm.weight": torch.zeros(9), "extra.weight": torch.zeros(2)}
    found = load(model, state, partial=True)
    assert found.loaded == ("stem.weight",)
    assert found.missing == ("stem.bias", "norm.bias", "norm.running_mean", "norm.running_var", "fc.weight", "fc.bias")
    assert found.unexpected == ("extra.weight",)
    assert found.other_shape == {"norm.weight": ((9,), (4,))}
    assert torch.equal(model.stem.weight, net(0).stem.weight)
    assert torch.equal(model.norm.weight, before.norm.weight)
    assert found.sentence() == (
        "1 tensors loaded, the head fc starts anew, 4 that the model has are missing, 1 have another shape, 1 are of "
        "no use to it"
    )
    assert found.facts() == {
        "head": {"layer": "fc", "loaded": False},
        "loaded": ["stem.weight"],
        "missing": list(found.missing),
        "unexpected": ["extra.weight"],
        "other_shape": {"norm.weight": [[9], [4]]},
        "adapted": {},
    }


@pytest.mark.parametrize("partial", [False, True])
def test_weights_of_which_nothing_fits_are_always_refused(partial):
    state = {f"layer{number}.w": torch.zeros(1) for number in range(6)}
    assert error_of(net(1), state, partial) == (
        "pretrained.weights must have a tensor of the model's in name and shape, got w.pth, which has none: it holds "
        "layer0.w, layer1.w, layer2.w, layer3.w and 2 more; Net has stem.weight, stem.bias, norm.weight, norm.bias and "
        "5 more.\n  Choose the model that these weights are of, or a file of this model's."
    )


def test_counts_of_batches_alone_are_no_weights():
    assert "which has none" in error_of(net(1), {"norm.num_batches_tracked": torch.tensor(1)}, True)


def test_whole_numbers_are_no_weights():
    state = {**net(0).state_dict(), "stem.weight": torch.zeros(4, 3, 3, 3, dtype=torch.int8)}
    assert "1 have another shape (stem.weight" in error_of(net(1), state)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_finite_numbers_are_refused(value):
    state = net(0).state_dict()
    state["norm.weight"][1] = value
    with pytest.raises(DataError) as caught:
        load(net(1), {f"module.{name}": tensor for name, tensor in state.items()})
    assert str(caught.value) == "w.pth: module.norm.weight holds values that are not finite. Choose other weights."


# --- grey images ------------------------------------------------------------------------------------------------------


def test_colour_filters_are_summed_for_grey_images_and_give_the_same():
    model, grey_B1HW = net(1, channels=1), torch.randn(4, 1, 9, 9)
    found = load(model, net(0).state_dict())
    torch.testing.assert_close(model(grey_B1HW), net(0)(grey_B1HW.expand(-1, 3, -1, -1)), rtol=1e-5, atol=1e-6)
    assert found.adapted == {"stem.weight": "its three colour filters are summed, for grey images"}
    assert found.loaded == NAMES


@pytest.mark.parametrize(("channels_of_file", "channels"), [(1, 3), (4, 1), (3, 2)])
def test_no_other_number_of_channels_is_adapted(channels_of_file, channels):
    state = net(0, channels=channels_of_file).state_dict()
    assert "1 have another shape (stem.weight" in error_of(net(1, channels=channels), state)


def test_a_later_layer_is_not_adapted():
    class Two(nn.Sequential):
        def __init__(self, channels):
            super().__init__(nn.Conv2d(1, channels, 1), nn.Conv2d(channels, 2, 1), nn.Flatten(), nn.Linear(2, 2))

    assert "2 have another shape" in error_of(Two(1), {**Two(3).state_dict(), "0.bias": torch.zeros(1)})


# --- weights as they are published ------------------------------------------------------------------------------------


def published(name):
    try:
        return read_tensors(weight_file(name, "").path)
    except DataError as error:
        pytest.skip(f"set ASSAY_WEIGHTS to where the weights are: {str(error).splitlines()[0]}")


def built(name, classes=10, side=32, **keys):
    recipe = Recipe.model_validate({"data": {"source": "cifar10"}, "model": {"name": name, **keys}})
    return build_model(recipe.model, recipe.init, seed=0, input_shape=(3, side, side), classes=classes)


@pytest.mark.parametrize(("depth", "file"), [(20, "resnet20-12fca82f.th"), (56, "resnet56-4bfd9763.th")])
def test_published_cifar_resnets_load_whole(depth, file):
    model = built("cifar_resnet", depth=depth)
    found = load(model, published(file))
    assert (found.missing, found.unexpected, found.other_shape) == ((), (), {})
    assert found.head == ("linear", True)


def test_a_published_squeezenet_loads_but_for_its_head():
    model = built("torchvision:squeezenet1_1", classes=15, side=64)
    tensors = published("squeezenet1_1-imagenet-fp16.safetensors")
    found = load(model, tensors)
    assert found.other_shape == {
        "classifier.1.weight": ((1000, 512, 1, 1), (15, 512, 1, 1)),
        "classifier.1.bias": ((1000,), (15,)),
    }
    assert (len(found.loaded), found.missing, found.unexpected) == (50, (), ())
    assert torch.equal(model.features[0].weight, tensors["features.0.weight"].float())


def test_a_partial_resnet_loads_where_it_fits_if_asked():
    model = built("torchvision:resnet18", classes=15, side=64)
    tensors = published("resnet18-imagenet-bnfolded-partial-fp16.safetensors")
    message = error_of(model, tensors)
    assert ": it lacks 84 of the model's tensors (bn1.weight, " in message
    assert "; 20 are of no use to it (conv1.bias, " in message
    found = load(model, tensors, partial=True)
    assert len(found.loaded) == 16
    assert {"layer4.0.conv1.weight", "layer4.1.conv2.weight"} <= set(found.missing)
    assert torch.equal(model.conv1.weight, tensors["conv1.weight"].float())
