"""`assay data`: what it prints, what it writes, and what it says of mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from assay.cli import cli
from assay.data.load import load_source
from assay.errors import AssayError, DataError, InputError, StudyFileError
from assay.recipe.schema import DigitsData

DATA = os.environ.get("ASSAY_DATA", "")
STUDY = """\
question: Do shifts help?
base:
  data: {source: digits, validation: 0.3}
  model: {name: mlp}
arms:
  plain: {}
  shifted: {augment.crop_padding: 2, augment.mixup: 0.5}
"""

Say = Callable[..., str]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command in this process, in an empty folder, without data folders; gives what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ASSAY_DATA", "")

    def said(*words: str) -> str:
        capsys.readouterr()
        cli(["data", *words], prog_name="assay", standalone_mode=False)
        return capsys.readouterr().out

    return said


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of ten images of several sizes, of which one is there twice, under two labels."""
    rng = np.random.default_rng(3)
    for at in range(30):
        height, width = 20 + at % 3, 30
        coarse = Image.fromarray(rng.integers(0, 255, size=(6, 9, 3), dtype=np.uint8))
        path = tmp_path / "photos" / ("ant", "bee", "cow")[at % 3] / f"{at:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(path)
    (tmp_path / "photos/ant/twin.png").write_bytes((tmp_path / "photos/bee/01.png").read_bytes())
    return tmp_path / "photos"


def last_object(output: str) -> dict[str, Any]:
    found = json.loads(output.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        image.load()
        return image.size


def test_list_names_every_source_and_how_to_get_it(say: Say) -> None:
    output = say("list")
    assert "comes with scikit-learn" in output
    assert "not here: assay data fetch cifar10" in output
    found = last_object(say("list", "--json"))
    assert [row["source"] for row in found["sources"]] == [
        "digits", "circles", "cifar10", "cifar100", "mnist", "fashion_mnist",
    ]  # fmt: skip
    assert found["sources"][2]["place"] is None
    assert found["caches"] == []


def test_list_shows_what_is_cached(say: Say, photos: Path) -> None:
    say("stats", str(photos), "--set", "size=16")
    (cache,) = last_object(say("list", "--json"))["caches"]
    assert (cache["images"], cache["size"]) == (31, "16 × 16")
    assert "31 images of 16 × 16" in say("list")


def test_stats_of_digits(say: Say) -> None:
    facts = last_object(say("stats", "digits", "--json"))
    assert facts["count"] == 1797
    assert facts["size"] == [8, 8]
    assert facts["channels"] == 1
    assert facts["split"] == "all"
    assert facts["classes"] == list("0123456789")
    assert sum(facts["counts"]["all"]) == 1797
    pixels = load_source(DigitsData(source="digits")).inputs / 255
    assert facts["mean"] == pytest.approx([pixels.mean()], rel=1e-9)
    assert facts["std"] == pytest.approx([pixels.std()], rel=1e-9)
    assert "digits, all examples: 1,797 examples, 8 × 8, 1 channel" in say("stats", "digits")


def test_stats_of_a_folder_at_its_own_sizes_and_at_one(say: Say, photos: Path) -> None:
    assert "20 × 30 to 22 × 30, 3 channels" in say("stats", "photos")
    facts = last_object(say("stats", "photos", "--set", "size=[8, 12]", "--set", "color=grey", "--json"))
    assert (facts["size"], facts["channels"], facts["counts"]) == ([8, 12], 1, {"all": [11, 10, 10]})


@pytest.mark.skipif(not (Path(DATA) / "cifar-10-batches-bin").is_dir(), reason="needs CIFAR-10 in $ASSAY_DATA")
def test_stats_of_cifar10_are_the_published_ones(say: Say) -> None:
    facts = last_object(say("stats", "cifar10", "--data-dir", DATA, "--json"))
    assert facts["mean"] == pytest.approx([0.491400, 0.482158, 0.446531], abs=1e-6)
    assert facts["std"] == pytest.approx([0.247032, 0.243485, 0.261588], abs=1e-6)
    assert (facts["count"], facts["size"], facts["split"]) == (50_000, [32, 32], "train")
    assert facts["counts"]["test"] == [1000] * 10


def test_check_finds_the_twin_and_ends_well(say: Say, photos: Path) -> None:
    output = say("check", "photos", "-o", "pairs.png")
    assert "photos: 31 images in 3 classes" in output
    assert "Equal images: 1 pair, " in output
    assert "ant/twin.png = bee/01.png" in output
    assert "labels ant and bee" in output
    assert "Sizes: 3 different, 20 × 30 to 22 × 30" in output
    assert "pairs.png: 1 of 1 pairs" in output
    assert size_of(Path("pairs.png"))[0] > 2 * 60
    found = last_object(say("check", "photos", "--json"))
    assert [(pair["first"]["name"], pair["second"]["name"]) for pair in found["exact"]] == [
        ("ant/twin.png", "bee/01.png")
    ]
    assert found["exact"][0]["label_conflict"] is True
    assert found["near"] == []


def test_check_lists_unreadable_files_and_ends_well(say: Say, photos: Path) -> None:
    (photos / "cow" / "broken.png").write_bytes(b"\x89PNG nothing")
    output = say("check", "photos")
    assert "Unreadable files: 1\n  cow/broken.png: " in output


def test_check_of_a_table(say: Say, photos: Path) -> None:
    rows = [f"{path.relative_to(photos.parent)},{path.parent.name}" for path in sorted(photos.glob("*/*.png"))]
    Path("table.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    assert "Equal images: 1 pair, " in say("check", "table.csv")


def test_show_draws_each_class_the_same_for_a_seed(say: Say, photos: Path) -> None:
    assert "one.png: 3 classes, up to 4 images each, drawn with seed 0" in say(
        "show", "photos", "-o", "one.png", "--images", "4"
    )
    say("show", "photos", "-o", "two.png", "--images", "4")
    say("show", "photos", "-o", "other.png", "--images", "4", "--seed", "1")
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes() != Path("other.png").read_bytes()
    assert size_of(Path("one.png"))[0] > 4 * 90
    assert [path.name for path in Path().glob(".*")] == []


def test_show_augmented_of_an_arm(say: Say) -> None:
    Path("study.yaml").write_text(STUDY)
    output = say("show", "study.yaml", "--arm", "shifted", "--augmented", "-o", "shifted.png", "--images", "3")
    assert "shifted.png: 10 images in the first 3 epochs at seed 0" in output
    say("show", "digits", "--set", "augment.crop_padding=2", "--augmented", "-o", "plain.png", "--images", "3")
    assert size_of(Path("shifted.png")) == size_of(Path("plain.png"))
    assert Path("shifted.png").read_bytes() != Path("plain.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["check", "cifr10"], InputError, r"no data source, folder or table 'cifr10'\. Did you mean \"cifar10\"\?"),
        (["stats", "digits", "--set", "valdation=0.1"], StudyFileError, 'Did you mean "validation"\\?'),
        (["stats", "digits", "--arm", "plain"], InputError, "--arm belongs to a study file, got the source 'digits'"),
        (["show", "study.yaml", "--arm", "shiftd"], InputError, "shifted"),
        (["show", "digits", "--augmented"], InputError, "--augmented needs an augmentation, and 'digits' has none"),
        (["show", "digits", "-o", "sheet.jpg"], InputError, r"--output must end in \.png, got 'sheet\.jpg'\."),
        (["show", "digits", "-o", "nowhere/sheet.png"], InputError, "nowhere/sheet.png cannot be written: No such"),
        (["show", "circles"], InputError, r"data show needs images, and data\.source circles gives points"),
        (["check", "circles"], DataError, r"data check needs images, and data\.source circles gives points"),
        (["check", "study.txt"], InputError, "is a file of another kind: a table ends in .csv, a study file in .yaml"),
        (["stats", "mnist"], DataError, "assay data fetch mnist"),
        (["fetch", "digits"], InputError, "digits needs no fetching: comes with scikit-learn"),
        (["fetch", "cifer10"], DataError, 'Did you mean "cifar10"\\?'),
        (["stats", "digits", "--data-dir", "nowhere"], DataError, "must be an existing folder"),
    ],
)
def test_mistakes_are_named_with_what_to_do(
    say: Say, words: Sequence[str], kind: type[AssayError], message: str
) -> None:
    Path("study.yaml").write_text(STUDY)
    Path("study.txt").write_text(STUDY)
    with pytest.raises(kind, match=message) as raised:
        say(*words)
    assert raised.value.exit_code == 2


def test_an_unknown_command_of_data_is_answered(say: Say) -> None:
    with pytest.raises(click.UsageError, match="shwo"):
        say("shwo", "digits")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from assay.cli import main\n"
        "sys.argv = ['assay', 'data', 'check', '--help']\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'PIL', 'scipy', 'sklearn', 'rich') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout.splitlines()[-1] == "[]", ended.stdout + ended.stderr


def test_a_study_says_how_many_examples_were_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(6):
            pixels = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{number}.png")
    (tmp_path / "pets" / "cat" / "5.png").write_bytes(b"")
    study = tmp_path / "pets.yaml"
    study.write_text(
        f"data: {{source: folder, root: {tmp_path / 'pets'}, on_bad: skip}}\n"
        "model: {name: mlp, widths: [4]}\ntrain: {epochs: 1}\n"
    )
    arguments = ["run", str(study), "--store", str(tmp_path / "store"), "--executor", "inline", "--quiet"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert "folder: 1 example could not be read and took no part." in result.output
