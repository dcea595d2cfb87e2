"""Dotted paths: users' own classes are found, everything else is refused before it is imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from assay.errors import InputError
from assay.recipe.user_code import check_path, resolve_class, source_hash


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A function that writes a module into the working folder and returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    written = []

    def write(text: str) -> str:
        name = f"own_module_{len(written)}_{tmp_path.name.replace('-', '_')}"
        Path(f"{name}.py").write_text(text)
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "path",
    ["os:system", "subprocess:Popen", "pickle:Unpickler", "builtins:eval", "torch.nn:Linear", "__main__:X", "pip:main"],
)
def test_paths_that_are_not_the_users_are_refused(path):
    with pytest.raises(
        InputError, match=r"which is not yours: a dotted path must name a class in a module of your own"
    ):
        check_path(path)


def test_refusing_imports_nothing():
    sys.modules.pop("antigravity", None)
    with pytest.raises(InputError):
        resolve_class("antigravity:geohash")
    assert "antigravity" not in sys.modules


def test_a_class_in_the_working_folder_is_found(module):
    name = module("class Tiny:\n    pass\n")
    assert resolve_class(f"{name}:Tiny").__name__ == "Tiny"


def test_editing_the_file_changes_the_source_hash(module):
    name = module("class Tiny:\n    size = 1\n")
    before = source_hash(f"{name}:Tiny")
    assert source_hash(f"{name}:Tiny") == before
    Path(f"{name}.py").write_text("class Tiny:\n    size = 2\n")
    assert source_hash(f"{name}:Tiny") != before


def test_hashing_does_not_run_the_module(module):
    name = module("raise SystemExit('it ran')\n")
    source_hash(f"{name}:Tiny")
    assert name not in sys.modules


@pytest.mark.parametrize(
    ("text", "class_name", "message"),
    [
        ("class Tiny:\n    pass\n", "Tony", "has no 'Tony'. Did you mean \"Tiny\"?"),
        ("def tiny():\n    pass\n", "tiny", "must name a class, got a function."),
        ("from subprocess import Popen\n", "Popen", "names a class of subprocess"),
        ("1 / 0\n", "Tiny", "cannot be imported: ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_no_own_class_is_explained(module, text, class_name, message):
    with pytest.raises(InputError) as caught:
        resolve_class(f"{module(text)}:{class_name}")
    assert message in str(caught.value)


def test_a_missing_module_is_named_with_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(InputError, match="there is no module 'no_such_module_here'"):
        check_path("no_such_module_here:Tiny")
