"""Files of weights are read whatever way they were saved, and nothing in them is ever executed."""

import os
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from assay.errors import DataError
from assay.models.stored_tensors import read_tensors

HOW = "Save the weights alone: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."


def small_state():
    generator = torch.Generator().manual_seed(0)
    return {"layer.weight": torch.randn(3, 2, generator=generator), "layer.bias": torch.arange(3.0)}


def assert_equal(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def saved(tmp_path, content, name="a.pth", **options):
    torch.save(content, tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "legacy"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".th", ".bin"])
def test_what_torch_saved_is_read(tmp_path, zipped, suffix):
    file = saved(tmp_path, small_state(), f"a{suffix}", _use_new_zipfile_serialization=zipped)
    assert_equal(read_tensors(file), small_state())


def test_safetensors_are_read_in_their_own_types(tmp_path):
    state = {name: tensor.to(torch.bfloat16) for name, tensor in small_state().items()}
    state["count"] = torch.tensor(7)
    save_file(state, tmp_path / "a.safetensors")
    found = read_tensors(tmp_path / "a.safetensors")
    assert_equal({name: found[name] for name in state}, state)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3, "best": torch.tensor(0.9)},
        lambda state: {"model": state, "optimizer": {"state": {0: torch.zeros(1)}}},
        lambda state: {"checkpoint": 1, "model_state_dict": state},
        lambda state: {"net": {"state_dict": state}},
        lambda state: {**state, "note": "by hand", 5: torch.zeros(1)},
    ],
)
def test_weights_are_found_in_a_checkpoint(tmp_path, wrap):
    assert_equal(read_tensors(saved(tmp_path, wrap(small_state()))), small_state())


def test_parameters_are_taken_as_tensors(tmp_path):
    found = read_tensors(saved(tmp_path, {"w": nn.Parameter(torch.ones(2))}))
    assert type(found["w"]) is torch.Tensor
    assert not found["w"].requires_grad


class Evil:
    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return os.mkdir, (self.file,)


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "legacy"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, zipped):
    content = {"state_dict": small_state(), "extra": Evil(tmp_path / "was here")}
    file = saved(tmp_path, content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError) as caught:
        read_tensors(file)
    assert str(caught.value) == (
        f"{file} holds {os.mkdir.__module__}.mkdir, and assay reads weights alone: other objects may run code when "
        f"they are read. {HOW}"
    )
    assert not (tmp_path / "was here").exists()


def test_a_plain_pickle_is_refused_and_not_run(tmp_path):
    for protocol in (2, 4):
        (tmp_path / "a.pth").write_bytes(pickle.dumps(Evil(tmp_path / "was here"), protocol=protocol))
        with pytest.raises(DataError, match=r"holds \w+\.mkdir, and assay reads weights alone|is damaged, or was not"):
            read_tensors(tmp_path / "a.pth")
        assert not (tmp_path / "was here").exists()


@pytest.mark.parametrize("content", [nn.Linear(2, 2), {"a": np.zeros(2)}], ids=["module", "array"])
def test_other_objects_are_refused_by_name(tmp_path, content):
    with pytest.raises(DataError, match=r"holds [\w.]+, and assay reads weights alone: other objects may run code"):
        read_tensors(saved(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"epoch": 3, "names": ["a"]}, " holds no tensors by name but 'epoch', 'names'. " + HOW),
        ([torch.zeros(2)], " holds no tensors by name. " + HOW),
        (torch.zeros(2), " holds no tensors by name. " + HOW),
        ({}, " holds no tensors by name. " + HOW),
        (
            {"w": torch.eye(2).to_sparse()},
            ": w must be an ordinary dense tensor, and is sparse, quantised or without values.",
        ),
        (
            {"w": torch.zeros(2, device="meta")},
            ": w must be an ordinary dense tensor, and is sparse, quantised or without values.",
        ),
    ],
    ids=["no tensors", "list", "tensor", "nothing", "sparse", "meta"],
)
def test_a_file_without_weights_says_so(tmp_path, content, said):
    file = saved(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_tensors(file)
    assert str(caught.value) == f"{file}{said}"


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"x", b"<!DOCTYPE html><html>", b"hello there, no weights", bytes(1000)])
def test_other_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_tensors(tmp_path / name)
    assert re.search(r"is damaged, or (was not saved by torch|no safetensors file)[.:]", str(caught.value))
    assert not re.search(r": \d+\.", str(caught.value))  # a key that a library looked up in vain
    assert str(caught.value).endswith(" Copy or download it again.")


def whole_files(tmp_path):
    save_file(small_state(), tmp_path / "s.safetensors")
    yield tmp_path / "s.safetensors"
    yield saved(tmp_path, small_state(), "z.pth")
    yield saved(tmp_path, small_state(), "l.pth", _use_new_zipfile_serialization=False)


def test_truncated_files_are_refused(tmp_path):
    for file in whole_files(tmp_path):
        content = file.read_bytes()
        for share in (0.1, 0.5, 0.95):
            file.write_bytes(content[: int(share * len(content))])
            with pytest.raises(DataError, match=r"is damaged, or "):
                read_tensors(file)


def test_an_archive_that_grows_when_unpacked_is_refused_before_it_does(tmp_path):
    file = saved(tmp_path, small_state())
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in whole.infolist():
            bomb.writestr(entry.filename, whole.read(entry) + (bytes(10**7) if "data.pkl" in entry.filename else b""))
    with pytest.raises(DataError, match=r"would unpack to 10,0\d\d,\d{3} bytes from \d\d,\d{3}: torch saves weights "):
        read_tensors(tmp_path / "b.pth")


def test_a_tensor_that_claims_to_be_huge_takes_no_memory(tmp_path):
    file = saved(tmp_path, {"w": torch.zeros(1).expand(10**13)})
    assert read_tensors(file)["w"].untyped_storage().nbytes() == 4


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damage_anywhere_gives_tensors_or_an_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    file = data.draw(st.sampled_from(list(whole_files(folder))))
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    try:
        found = read_tensors(file)
    except DataError:
        return
    assert all(isinstance(tensor, torch.Tensor) for tensor in found.values())
