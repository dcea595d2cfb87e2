"""Weights that torchvision publishes: found by their name, downloaded once, and never taken for what they are not."""

import hashlib
import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from assay.data import published_weights as module
from assay.data.published_weights import address_of, published_file
from assay.errors import DataError, InvalidValueError
from serving import serving

CONTENT = b"weights of a small network" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = f"tiny-{SHA256[:8]}.pth"


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ASSAY_DATA", raising=False)
    monkeypatch.delenv("ASSAY_WEIGHTS", raising=False)
    monkeypatch.delenv("ASSAY_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A classifier that torchvision might publish: its address is remembered, as after having been asked for once."""
    addresses = {"tiny": f"https://download.pytorch.org/models/{NAME}"}
    memory = tmp_path / "cache" / "torchvision-weights.json"
    memory.parent.mkdir()
    memory.write_text(json.dumps({"torchvision": version("torchvision"), "addresses": addresses}))


def downloaded(monkeypatch, contents):
    with serving(contents) as (address, asked):
        monkeypatch.setenv("ASSAY_MIRROR", address + "/")
        return published_file("tiny"), asked


def failure_of(monkeypatch, contents, tmp_path):
    with serving(contents) as (address, _):
        monkeypatch.setenv("ASSAY_MIRROR", address)
        with pytest.raises(DataError) as caught:
            published_file("tiny")
    assert not (tmp_path / "cache" / "weights" / NAME).exists()
    return str(caught.value).replace(address, "ADDRESS").replace(str(tmp_path), "TMP")


def test_they_are_downloaded_once_and_checked(tiny, monkeypatch, tmp_path, capfd):
    file, asked = downloaded(monkeypatch, {f"/torchvision/{NAME}": CONTENT})
    assert asked == [f"/torchvision/{NAME}"]
    assert file.path == tmp_path / "cache" / "weights" / NAME
    assert file.sha256 == SHA256
    assert file.path.read_bytes() == CONTENT
    again, asked = downloaded(monkeypatch, {})
    assert (again, asked) == (file, [])
    assert capfd.readouterr() == ("", "")


def test_what_lies_in_a_weight_folder_is_not_downloaded(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_WEIGHTS", str(tmp_path / "mine"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / NAME).write_bytes(CONTENT)
    file, asked = downloaded(monkeypatch, {})
    assert file.path == tmp_path / "mine" / NAME
    assert asked == []


def test_a_file_in_a_weight_folder_that_is_not_what_its_name_says_is_refused(tiny, monkeypatch, tmp_path):
    (tmp_path / NAME).write_bytes(b"other")
    with pytest.raises(DataError) as caught:
        published_file("tiny")
    begin = hashlib.sha256(b"other").hexdigest()[:8]
    assert str(caught.value) == (
        f"{tmp_path / NAME} is not what torchvision publishes under that name: its SHA-256 begins with {begin}. Move "
        "it away to have it downloaded again."
    )


def test_another_content_is_not_kept(tiny, monkeypatch, tmp_path):
    begin = hashlib.sha256(b"page not found").hexdigest()[:8]
    assert failure_of(monkeypatch, {f"/torchvision/{NAME}": b"page not found"}, tmp_path) == (
        f"{NAME} could not be downloaded from ADDRESS/torchvision/{NAME}: what came is another file: its SHA-256 "
        f"begins with {begin}.\n"
        "  Try again later, or set $ASSAY_MIRROR to an address that has it.\n"
        "  Or get it on another computer and put it into TMP/cache/weights, or a folder of $ASSAY_WEIGHTS."
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (404, "the server answered 404 Not Found"),
        ((CONTENT,), "the connection broke off"),
        (b"", "what came is an empty file"),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(tiny, monkeypatch, tmp_path, content, why):
    assert f": {why}.\n" in failure_of(monkeypatch, {f"/torchvision/{NAME}": content}, tmp_path)
    file, _ = downloaded(monkeypatch, {f"/torchvision/{NAME}": CONTENT})
    assert file.sha256 == SHA256


def test_no_connection_is_told(tiny, monkeypatch):
    with serving({}) as (address, _):
        pass  # nobody listens there any more
    monkeypatch.setenv("ASSAY_MIRROR", address)
    with pytest.raises(DataError, match=r": there is no connection to it\.\n"):
        published_file("tiny")


def test_torchvision_itself_says_what_it_publishes():
    address = address_of("squeezenet1_1")
    assert address.startswith("https://download.pytorch.org/models/squeezenet1_1-")
    assert module._NAME.fullmatch(address.rpartition("/")[2])


def test_every_classifier_of_torchvision_has_weights_whose_name_tells_their_hash():
    from torchvision import models

    assert all(address_of(name) for name in models.list_models(module=models))


def test_a_model_that_torchvision_lacks_is_told_with_the_nearest():
    with pytest.raises(InvalidValueError) as caught:
        address_of("squeezenet11")
    assert str(caught.value) == (
        "model.name must name a classifier of torchvision, got torchvision:squeezenet11.\n"
        '  Did you mean "torchvision:squeezenet1_1"?'
    )


@pytest.mark.parametrize(
    "memory", ["", "[]", '{"torchvision": 1}', '{"torchvision": "V", "addresses": {"tiny": "/x"}}']
)
def test_a_damaged_memory_is_made_anew(monkeypatch, tmp_path, memory):
    file = tmp_path / "cache" / "torchvision-weights.json"
    file.parent.mkdir()
    file.write_text(memory.replace("V", version("torchvision")))
    monkeypatch.setattr(module, "address_of", lambda model: f"https://example.org/{NAME}")
    downloaded(monkeypatch, {f"/torchvision/{NAME}": CONTENT})
    assert json.loads(file.read_bytes())["addresses"]["tiny"] == f"https://example.org/{NAME}"


def test_what_is_remembered_and_downloaded_needs_no_torch(tiny, tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT)
    code = (
        "import sys; from assay.data.weight_files import weight_file\n"
        f"assert weight_file('torchvision', 'torchvision:tiny').sha256 == {SHA256!r}\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
