"""Hundreds of damaged study files: each ends in exit code 2 and a short message, or is a study that really runs."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import assay.cli.run
from assay.cli import main
from assay.recipe.reading import dump, read_document
from assay.studies.design import Study

LABS = Path(__file__).parents[2] / "labs" / "digits"
BASE = b"base: {data: {source: digits}, model: {name: %s}}\narms: {a: {}}\n"
MUTANTS_PER_FILE = 130
WRONG_VALUES: list[Any] = [
    None, True, -1, 0, 1.5, 10**30, 1e308, float("nan"), float("inf"), "", "text", "0.5", "é\u202e", [], [1], ["plain"],
    {}, {"a": 1}, {"name": "mlp"}, [[[]]], "os:system", "x" * 5000, "plain", {"source": "digits"}, [None], 2**63,
]  # fmt: skip


class StartedError(Exception):
    """A study passed every check and would now start."""

    def __init__(self, study: Study) -> None:
        self.study = study


def run(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Study | str:
    """`assay run FILE`: the study that would start, or the message it ended with after exit code 2."""

    def start(study: Study, *_: object, **__: object) -> None:
        raise StartedError(study)

    monkeypatch.setattr(assay.cli.run, "_conduct", start)
    monkeypatch.setattr(sys, "argv", ["assay", "run", str(file), "--quiet"])
    try:
        main()
    except StartedError as started:
        return started.study
    except SystemExit as stop:
        code = stop.code
    else:
        pytest.fail("the command ended without starting anything or saying why not")
    message = capsys.readouterr().err
    assert code == 2, message
    assert 1 <= len(message.splitlines()) <= 5, message
    assert "Traceback" not in message
    return message


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from paths_in(item, (*path, key))


def mutated(data: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """The data with one to three keys dropped, renamed, given another value, or moved elsewhere."""
    data = copy.deepcopy(data)
    for _ in range(rng.choice([1, 1, 2, 3])):
        paths = list(paths_in(data))
        if not paths:
            break
        *way, last = rng.choice(paths)
        parent = data
        for step in way:
            parent = parent[step]
        kind = rng.choice(["drop", "rename", "retype", "nest", "move", "copy"])
        if kind == "drop":
            del parent[last]
        elif kind == "rename" and isinstance(parent, dict):
            parent[rng.choice([f"{last}x", str(last)[1:], str(last).upper(), f"{last}.{last}", ""])] = parent.pop(last)
        elif kind == "nest":
            parent[last] = rng.choice([{str(last): parent[last]}, [parent[last]]])
        elif kind == "move":
            data[str(last)] = parent.pop(last) if isinstance(parent, dict) else parent[last]
        elif kind == "copy":
            data[rng.choice(list(data) or ["x"])] = copy.deepcopy(parent[last])
        else:
            parent[last] = copy.deepcopy(rng.choice(WRONG_VALUES))
    return data


def damaged(text: bytes, rng: random.Random) -> bytes:
    """The file's bytes with a piece cut, doubled, swapped or overwritten."""
    start, end = sorted(rng.sample(range(len(text)), 2))
    piece = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 6)))
    return rng.choice(
        [
            text[:start],
            text[:start] + text[end:],
            text[:end] + text[start:],
            text[:start] + piece + text[start + len(piece) :],
            text.replace(b": ", b":", 3),
            text.replace(b"  ", b"\t", 2),
            text.replace(b"}", b"", 1),
            text.replace(b"{", b"[", 1),
            text.upper(),
            text.decode().encode("utf-16"),
        ]
    )


@pytest.mark.parametrize("lab", sorted(path.stem for path in LABS.glob("*.yaml")))
def test_mutants_of_a_lab(lab, tmp_path, monkeypatch, capsys):
    original = LABS / f"{lab}.yaml"
    data, text = read_document(original).data, original.read_bytes()
    file = tmp_path / "mutant.yaml"
    refused = 0
    valid: list[Study] = []
    for number in range(MUTANTS_PER_FILE):
        rng = random.Random(f"{lab}/{number}")
        file.write_bytes(dump(mutated(data, rng)).encode() if number % 3 else damaged(text, rng))
        outcome = run(file, monkeypatch, capsys)
        if isinstance(outcome, Study):
            valid.append(outcome)
        else:
            refused += 1
            assert str(file) in outcome.replace("\n", "") or "mutant.yaml" in outcome
    assert refused > MUTANTS_PER_FILE / 2
    for study in valid:
        assert Study.model_validate(study.resolved()).arms == study.arms
    _train_one_epoch_of(random.Random(lab).sample(valid, min(3, len(valid))))


def _train_one_epoch_of(studies: list[Study]) -> None:
    """What was accepted trains: a sample of the accepted studies, every arm, cut to one epoch of narrow layers."""
    from assay.training.run import run_recipe

    for study in studies:
        for arm in study.arms:
            short = arm.recipe.resolved()
            short["train"] |= {"epochs": 1, "threads": 1}
            short["schedule"] = {"name": "constant"}
            record = run_recipe(type(arm.recipe).model_validate(short), fingerprint="0" * 32).record
            assert record.status in ("completed", "diverged")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n# nothing\n",
        b"\xff\xfe\x00\x01",
        b"\x00" * 100,
        b"a" * 2_000_000,
        b"- " * 30_000,
        b"[" * 100_000,
        b"{" * 100_000,
        b"a: &a [*a]",
        b"a: &a [x]\n" + b"".join(b"b%d: &b%d [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n" % (i, i) for i in range(50)),
        b"base: !!python/object/apply:os.system ['touch executed']\n",
        b"base: !!python/name:os.system\n",
        b"%TAG ! tag:yaml.org,2002:python/\n---\nbase: !name:os.system x\n",
        b"<<: {base: 1}\n",
        b"base: {data: {source: 'os:system'}, model: {name: mlp}}\narms: {a: {}}\n",
        BASE % b"'subprocess:Popen', options: {args: [touch, executed]}",
        BASE % b"'os:system', options: {command: touch executed}",
        b"\xef\xbb\xbf",
        b"question: " + b"x" * 100_000 + b"\n",
        b"arms: " + b"{a: " * 19 + b"1" + b"}" * 19,
        b"'': ''",
        b"? \n: \n",
        b"seeds: 99999999999999999999999999\nbase: {}\narms: {a: }\n",
    ],
    ids=range(23),
)
def test_files_that_are_no_studies(content, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mutant.yaml"
    file.write_bytes(content)
    assert isinstance(run(file, monkeypatch, capsys), str)
    assert not (tmp_path / "executed").exists()
