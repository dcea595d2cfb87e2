"""``train.precision: auto`` is settled by what the hardware says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from assay.api import fingerprint_of
from assay.recipe import hardware
from assay.recipe.hardware import best_precision, cpu_flags, settled
from assay.recipe.schema import Recipe


def recipe(precision: str) -> Recipe:
    return Recipe.model_validate(
        {"data": {"source": "digits"}, "model": {"name": "mlp"}, "train": {"precision": precision}}
    )


def cpuinfo(folder: Path, text: str) -> Path:
    path = folder / "cpuinfo"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (
            "processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16\n\nprocessor\t: 1\nflags\t: fpu\n",
            {"fpu", "avx512f", "avx512_bf16"},
        ),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", {"fp", "asimd", "bf16"}),
        ("model name: without flags\n", set()),
    ],
)
def test_flags_of_the_first_cpu(tmp_path, text, flags):
    assert cpu_flags(cpuinfo(tmp_path, text)) == flags


def test_a_machine_that_does_not_say_has_no_flags(tmp_path):
    assert cpu_flags(tmp_path / "missing") == frozenset()


def test_auto_is_bfloat16_where_the_cpu_has_instructions_for_it():
    best_precision.cache_clear()
    has = torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.cpu._is_avx512_bf16_supported()
    assert settled(recipe("auto")).train.precision == ("bfloat16" if has else "float32")


@pytest.mark.parametrize(
    ("capability", "precision"), [((6, 1), "float32"), ((7, 0), "float16"), ((7, 5), "float16"), ((8, 0), "bfloat16")]
)
@pytest.mark.parametrize("device", ["cuda:1", "auto"])
def test_auto_is_what_a_gpu_of_its_generation_multiplies(monkeypatch, device, capability, precision):
    asked = []
    monkeypatch.setattr(hardware, "_may_have_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: asked.append(index) or capability)
    best_precision.cache_clear()
    assert settled(recipe("auto"), device).train.precision == precision
    assert asked == [1 if device == "cuda:1" else None]
    best_precision.cache_clear()


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16", "float16"])
def test_a_precision_that_is_named_stays(precision):
    assert settled(recipe(precision)) is not None
    assert settled(recipe(precision)).train.precision == precision


def test_auto_names_the_run_of_the_precision_it_becomes():
    named = settled(recipe("auto")).train.precision
    assert fingerprint_of(recipe("auto"), "cpu") == fingerprint_of(recipe(named), "cpu")
    other = "float64"
    assert fingerprint_of(recipe("auto"), "cpu") != fingerprint_of(recipe(other), "cpu")
