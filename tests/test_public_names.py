"""The public surface: what assay exports, and that importing it stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import assay
from assay import errors

HEAVY = ["torch", "torchvision", "sklearn", "scipy", "numpy", "pydantic", "rich", "jinja2", "pebble"]


@pytest.mark.parametrize("name", assay.__all__)
def test_every_public_name_exists(name):
    assert getattr(assay, name) is not None
    assert name in dir(assay)


def test_no_room_of_the_house_takes_a_public_name():
    rooms = {path.stem for path in Path(assay.__file__).parent.iterdir()}
    assert not rooms & set(assay.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'assay' has no attribute 'runn'"):
        _ = assay.runn


def test_every_error_is_public_and_drawn_in_the_tree():
    defined = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert defined <= set(assay.__all__)
    assert all(name in errors.__doc__ for name in defined)


@pytest.mark.parametrize(
    "code",
    [
        "import assay",
        "import sys; sys.argv=['assay','--help']\nfrom assay.cli import cli\ncli.main(standalone_mode=False)",
    ],
)
def test_importing_assay_and_asking_for_help_load_nothing_heavy(code):
    check = f"{code}\nimport sys; print('\\n' + ' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    ended = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == ""
