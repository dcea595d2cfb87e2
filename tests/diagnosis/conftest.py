"""What the tests of this folder share."""

import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def planted_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    sys.modules.pop("planted", None)
