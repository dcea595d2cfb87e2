import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_sequences_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield
    sys.modules.pop("own_sequences", None)
