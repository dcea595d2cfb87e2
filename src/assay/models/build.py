"""From the model section of a recipe to a network with its initial weights.

Shape key: B examples in the batch, K classes.
"""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from assay.errors import InvalidValueError, ShapeError, shown
from assay.models.channel_cnn import ChannelCnn
from assay.models.cifar_resnet import CifarResNet
from assay.models.fast_cifar import FastCifar
from assay.models.initialise import initialise
from assay.models.lenet5 import LeNet5
from assay.models.mlp import Mlp
from assay.models.open_ended_cnn import OpenEndedCnn
from assay.models.simplenet import SimpleNet
from assay.models.step_by_step_cnn import StepByStepCnn
from assay.recipe.schema import (
    ChannelCnnModel,
    CifarResNetModel,
    DefaultInit,
    FastCifarModel,
    FittedAtOnce,
    Init,
    LeNet5Model,
    MlpModel,
    Model,
    OpenEndedCnnModel,
    SimpleNetModel,
    StepByStepCnnModel,
    TorchvisionModel,
    UserModel,
)
from assay.recipe.streams import stream_key
from assay.recipe.user_code import resolve_class

_PROBE_BATCH = 2

_OwnModel = (
    MlpModel
    | LeNet5Model
    | SimpleNetModel
    | OpenEndedCnnModel
    | StepByStepCnnModel
    | ChannelCnnModel
    | CifarResNetModel
    | FastCifarModel
)


def build_model(model: Model, init: Init, *, seed: int, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """A network on the CPU, in float32, with its initial weights.

    assay's own networks draw every parameter from the seed's init stream. torchvision's, and a class of the user's own,
    are constructed with torch's global generator seeded from that stream, and keep what their constructor drew if
    ``init`` is ``default``; any other ``init`` is applied to their linear and convolution layers, with ReLU's gain.
    torch's global generator is left as it was.

    Args:
        model: the recipe's model section.
        init: the recipe's init section.
        seed: the recipe's seed.
        input_shape: of one example, (C, H, W) or (D,).
        classes: how many logits per example.

    Raises:
        InvalidValueError: the model does not suit such inputs; the dotted path names no ``torch.nn.Module``, or its
            options do not fit it.
        ShapeError: the user's network does not give one logit per class.
    """
    if isinstance(model, FittedAtOnce):
        raise InvalidValueError(
            ("model", "name"),
            f"must name a network here, got {model.name}, which scikit-learn fits at once and which has no layers.",
            "Choose mlp, lenet5 or another network, or a torch.nn.Module of your own.",
        )
    if isinstance(model, TorchvisionModel | UserModel):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(stream_key(seed, "init") % 2**63)
            network = _foreign_network(model, input_shape, classes)
        if not isinstance(init, DefaultInit):
            initialise(network, init, seed=seed, activation="relu")
        return network
    with torch.random.fork_rng(devices=[]):  # constructors draw weights that are overwritten below
        network = _own_network(model, input_shape, classes, seed)
    activation = "relu" if isinstance(model, CifarResNetModel) else model.activation
    initialise(network, init, seed=seed, activation=activation)
    if isinstance(network, FastCifar):
        network.start_as_identity()
    return network


def _own_network(model: _OwnModel, input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    match model:
        case MlpModel():
            return Mlp(model, input_shape=input_shape, classes=classes, seed=seed)
        case LeNet5Model():
            return LeNet5(model, input_shape=input_shape, classes=classes, seed=seed)
        case SimpleNetModel():
            return SimpleNet(model, input_shape=input_shape, classes=classes, seed=seed)
        case OpenEndedCnnModel():
            return OpenEndedCnn(model, input_shape=input_shape, classes=classes, seed=seed)
        case StepByStepCnnModel():
            return StepByStepCnn(model, input_shape=input_shape, classes=classes, seed=seed)
        case ChannelCnnModel():
            return ChannelCnn(model, input_shape=input_shape, classes=classes, seed=seed)
        case CifarResNetModel():
            return CifarResNet(model, input_shape=input_shape, classes=classes)
        case FastCifarModel():
            return FastCifar(model, input_shape=input_shape, classes=classes)


def _foreign_network(model: TorchvisionModel | UserModel, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    if isinstance(model, TorchvisionModel):
        from assay.models.torchvision_models import build_classifier  # torchvision takes two seconds to import

        return build_classifier(model, input_shape=input_shape, classes=classes)
    network = _users_network(model, input_shape, classes)
    _probe(network, model.name, input_shape, classes)
    return network


def _users_network(model: UserModel, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    network_class = resolve_class(model.name)
    if not issubclass(network_class, nn.Module):
        raise InvalidValueError(
            ("model", "name"), f"must name a subclass of torch.nn.Module, got the class {model.name}."
        )
    arguments = {"input_shape": input_shape, "classes": classes, **model.options}
    try:
        inspect.signature(network_class).bind(**arguments)
    except TypeError as error:
        raise InvalidValueError(
            ("model", "options"),
            f"must fit {model.name}, which is called with input_shape, classes and the options; got "
            f"{shown(model.options)} ({error}).",
        ) from error
    network: nn.Module = network_class(**arguments)
    return network


def _probe(network: nn.Module, name: str, input_shape: tuple[int, ...], classes: int) -> None:
    """Run zeros through the network: materialises lazy layers, and finds a wrong output before training starts."""
    was_training = network.training
    network.eval()
    with torch.no_grad():
        logits = network(torch.zeros(_PROBE_BATCH, *input_shape))
    network.train(was_training)
    got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if got != (_PROBE_BATCH, classes):
        raise ShapeError(
            f"model.name: {name} must give logits of shape (batch, {classes}), one per class; for a batch of "
            f"{_PROBE_BATCH} inputs of shape {input_shape} it gave {got}."
        )
