"""Files of weights are found in the order promised, and known by their content."""

import hashlib
import subprocess
import sys

import pytest

from assay.data.weight_files import WeightFile, weight_file, weight_folders
from assay.errors import DataError


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    for name in ("here", "data", "cache"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("ASSAY_WEIGHTS", raising=False)
    monkeypatch.chdir(tmp_path / "here")


def found(weights):
    return weight_file(str(weights), "mlp").path


def put(path, content=b"weights"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_folders_are_looked_through_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_WEIGHTS", f"{tmp_path / 'first'}:{tmp_path / 'second'}")
    places = [
        tmp_path / "here" / "a.pth",
        tmp_path / "first" / "a.pth",
        tmp_path / "second" / "a.pth",
        tmp_path / "data" / "weights" / "a.pth",
        tmp_path / "weights" / "a.pth",
        tmp_path / "cache" / "data" / "weights" / "a.pth",
        tmp_path / "cache" / "weights" / "a.pth",
    ]
    assert weight_folders() == tuple(place.parent for place in places)
    for place in reversed(places):
        put(place)
        assert found("a.pth") == place


def test_an_absolute_path_is_taken_as_it_is(tmp_path):
    file = put(tmp_path / "elsewhere" / "a.safetensors", b"123")
    put(tmp_path / "weights" / "a.safetensors", b"another")
    assert weight_file(str(file), "mlp") == WeightFile(path=file, sha256=hashlib.sha256(b"123").hexdigest())
    with pytest.raises(DataError) as caught:
        found(tmp_path / "no.pth")
    assert str(caught.value) == (
        f"pretrained.weights '{tmp_path}/no.pth' was not found, or is no file. Check the path."
    )


def test_a_path_below_a_folder_is_found_and_a_folder_is_no_file(tmp_path):
    file = put(tmp_path / "weights" / "nets" / "a.th")
    (tmp_path / "here" / "nets" / "a.th").mkdir(parents=True)
    assert found("nets/a.th") == file


def test_missing_weights_are_told_with_every_place_looked_in(tmp_path):
    with pytest.raises(DataError) as caught:
        found("nets/a.pth")
    folders = "".join(f"  {folder}\n" for folder in weight_folders())
    assert len(weight_folders()) == 5
    assert str(caught.value) == (
        f"pretrained.weights 'nets/a.pth' was not found, or is no file. Looked in:\n{folders}"
        "  Put the file into one of these, or name the folder it is in by $ASSAY_WEIGHTS."
    )


def test_a_file_of_another_kind_is_refused():
    with pytest.raises(DataError) as caught:
        found("net.onnx")
    assert str(caught.value) == (
        "pretrained.weights must be torchvision, or name a file that ends in .safetensors, .pth, .pt, .th, .bin, got "
        "'net.onnx'."
    )


def test_empty_and_enormous_files_are_refused_unread(tmp_path):
    empty = put(tmp_path / "empty.pth", b"")
    with pytest.raises(DataError, match=r"empty\.pth is empty\. Copy or download it again\.$"):
        found(empty)
    with (tmp_path / "huge.pth").open("wb") as file:
        file.truncate(2**34 + 1)  # takes no room on the disk
    with pytest.raises(DataError, match=r"huge\.pth must have at most 16 GiB, got 16 GiB\.$"):
        found(tmp_path / "huge.pth")


def test_a_changed_file_has_another_digest(tmp_path):
    file = put(tmp_path / "a.pth", b"one")
    before = weight_file(str(file), "mlp")
    put(file, b"two")
    assert weight_file(str(file), "mlp").sha256 != before.sha256


def test_finding_and_identifying_loads_no_torch(tmp_path):
    file = put(tmp_path / "a.pth")
    code = (
        "import sys; from assay.data.weight_files import weight_file\n"
        f"assert weight_file({str(file)!r}, 'mlp').sha256\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
