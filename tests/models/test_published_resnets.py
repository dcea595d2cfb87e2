"""CIFAR ResNets with the weights that Idelbayev 2018 publishes score on CIFAR-10's test images what those score.

Needs CIFAR-10 and the files of weights; see `assay.data.weight_files` for where they are looked for.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from assay.data.load import load_source
from assay.data.weight_files import weight_file
from assay.errors import DataError
from assay.models.build import build_model
from assay.recipe.schema import Cifar10Data, CifarResNetModel, DefaultInit

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 250


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of torch that wait for each other take three times as long as one: each core has batches of its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def published(depth: int, file: str) -> nn.Module:
    model = build_model(
        CifarResNetModel.model_validate({"name": "cifar_resnet", "depth": depth}),
        DefaultInit(name="default"),
        seed=0,
        input_shape=(3, 32, 32),
        classes=10,
    )
    try:
        path = weight_file(file, "cifar_resnet").path
    except DataError as error:
        pytest.skip(f"no published weights: {str(error).splitlines()[0]}")
    tensors = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    ours = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    missing, unexpected = model.load_state_dict(ours, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)  # newer than the files
    return model.eval()


@cache
def images_to_test() -> tuple[Tensor, Tensor]:
    examples = load_source(Cifar10Data(source="cifar10"))
    test_N = examples.test_indices
    return torch.from_numpy(examples.inputs[test_N]), torch.from_numpy(examples.labels_N[test_N])


def number_correct(model: nn.Module, *, examples: int) -> int:
    try:
        images_NCHW, labels_N = images_to_test()
    except DataError as error:
        pytest.skip(f"no CIFAR-10: {str(error).splitlines()[0]}")
    mean, deviation = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, DEVIATION))

    def correct_from(start: int) -> int:
        part = slice(start, min(start + BATCH, examples))
        x_BCHW = (images_NCHW[part].float() / 255 - mean) / deviation
        with torch.inference_mode():
            return int((model(x_BCHW).argmax(dim=1) == labels_N[part]).sum())

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(pool.map(correct_from, range(0, examples, BATCH)))


def test_published_weights_classify_the_first_images_as_the_whole_test_says_they_should():
    correct = number_correct(published(20, "resnet20-12fca82f.th"), examples=500)
    assert correct / 500 == pytest.approx(0.9173, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "file", "correct"), [(20, "resnet20-12fca82f.th", 9173), (56, "resnet56-4bfd9763.th", 9339)]
)
def test_published_weights_score_exactly_what_is_stated(depth, file, correct):
    assert number_correct(published(depth, file), examples=10_000) == correct
