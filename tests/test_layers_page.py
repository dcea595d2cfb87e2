"""docs/layers.md: the layer it shows keeps the promises it is run through."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "layers.md"


@pytest.fixture(scope="module")
def shown():
    """What the page's code defines, and prints."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 2
    names = {"__name__": "layers_page"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_the_layer_keeps_every_promise(shown, capsys):
    contract = shown["TestSoftplus"]()
    promises = [name for name in dir(contract) if name.startswith("test_")]
    assert len(promises) >= 6
    for name in promises:
        if name != "test_memory_layout_changes_nothing":
            getattr(contract, name)()
    for layout in ("transposed", "stepped", "reversed"):
        contract.test_memory_layout_changes_nothing(layout)


def test_a_mistake_in_it_would_be_found(shown):
    class Wrong(shown["Softplus"]):
        def backward(self, dy, cache):
            (dx,) = super().backward(dy, cache)
            return (1.001 * dx,)

    check = shown["check_gradients"]
    assert check(shown["Softplus"](), [shown["x"]], [], shown["dy"]).problems == ()
    assert check(Wrong(), [shown["x"]], [], shown["dy"]).problems != ()
