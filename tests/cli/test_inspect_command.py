"""`assay inspect` on a terminal and for programs."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torchvision
from click.testing import CliRunner
from torch import nn

from assay.cli.inspect import inspect_command
from assay.cli.layer_table import print_layers, print_separable
from assay.models.anatomy import dissect
from assay.models.separable import separable_costs
from assay.reports.words import memory

STUDY = """\
base:
  data: {source: digits}
  model: {name: lenet5}
  train: {epochs: 1}
arms:
  plain: {}
  frozen: {freeze.layers: [conv1, conv2]}
seeds: 1
"""


def inspect(*words: str) -> str:
    ended = CliRunner().invoke(inspect_command, words, catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended.output


def lines(*words: str) -> list[list[str]]:
    """The words of each line."""
    return [line.split() for line in inspect(*words).splitlines()]


def test_the_lab_s_cnn_has_the_parameters_and_fields_of_its_anatomy() -> None:
    found = lines("step_by_step_cnn", "--input", "3,32,32")
    assert ["conv1", "Conv2d", "5×5", "32×32×32", "2,432", "2,457,600", "5", "1", "131", "kB"] in found
    assert ["conv2", "Conv2d", "5×5", "64×16×16", "51,264", "13,107,200", "14", "2", "65.5", "kB"] in found
    assert ["conv3", "Conv2d", "5×5", "64×8×8", "102,464", "6,553,600", "32", "4", "16.4", "kB"] in found
    assert ["linear1", "Linear", "1000", "1,025,000", "1,024,000", "whole", "4.00", "kB"] in found
    assert "total: 1,191,170 parameters; 23,152,400 MACs" in inspect("step_by_step_cnn", "--input", "3,32,32")


def test_no_number_is_cut_however_narrow_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert "1,814,073,344" in inspect("torchvision:resnet18", "--depth", "1")


def test_torchvision_s_networks_are_shown_as_published() -> None:
    published = torchvision.models.get_model_weights("resnet18").DEFAULT.meta
    found = json.loads(inspect("torchvision:resnet18", "--json"))
    assert found["input_shape"] == [3, 224, 224]
    assert found["parameters"] == published["num_params"]
    assert round(found["macs"] / 1e9, 3) == published["_ops"]
    small = json.loads(inspect("torchvision:resnet18", "--input", "1,64,64", "--classes", "7", "--json"))
    assert small["rows"][-1]["output_shape"] == [7]


def test_depth_sums_up_blocks() -> None:
    rows = json.loads(inspect("torchvision:resnet18", "--depth", "1", "--json"))["rows"]
    assert [row["name"] for row in rows][4:8] == ["layer1", "layer2", "layer3", "layer4"]
    assert [row["receptive_field"][0] for row in rows][4:8] == [43, 99, 211, 435]
    assert sum(row["parameters"] for row in rows) == 11_689_512
    assert "52 rows" not in inspect("torchvision:resnet18")
    assert "138 rows; --depth 1 sums them up" in inspect(
        "cifar_resnet", "--set", "model.depth=56", "--input", "3,32,32"
    )


def test_separable_convolutions_are_costed() -> None:
    words = ("lenet5", "--input", "3,32,32", "--separable")
    conv2 = next(line for line in lines(*words) if line[:1] == ["conv2"] and "to" in line)
    # 1/16 + 1/25 of 240,000; of the 2,416 parameters 6·25 + 6·16 weights and 16 biases.
    assert conv2 == [*("conv2", "5×5", "6", "to", "16"), "240,000", "24,600", "9.76×", "2,416", "262", "9.22×"]
    whole = next(line for line in lines(*words) if line[:2] == ["whole", "network"])
    assert whole == ["whole", "network", "651,720", "156,432", "4.17×", "62,006", "59,495", "1.04×"]
    found = json.loads(inspect(*words, "--json"))
    assert [cost["name"] for cost in found["separable"]] == ["conv1", "conv2"]
    assert "nothing to separate" in inspect("mlp", "--separable")
    assert "separable" not in json.loads(inspect("mlp", "--json"))


def test_frozen_layers_are_marked(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    file = str(tmp_path / "study.yaml")
    assert "frozen" not in inspect(file)
    found = lines(file, "--arm", "frozen")
    assert next(line for line in found if line[:1] == ["conv1"])[4:6] == ["156", "156"]
    assert next(line for line in found if line[:1] == ["output"])[3:5] == ["850", "0"]
    assert "21,386 parameters, 18,814 trained and 2,572 frozen" in inspect(file, "--arm", "frozen")


def test_points_have_no_receptive_field_columns() -> None:
    text = inspect("mlp", "--input", "2")
    assert "stride" not in text
    assert "sees" not in text


def test_names_steer_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    odd = dissect(nn.Sequential(OrderedDict({"odd \x1b[31m [bold]": nn.Conv2d(1, 2, 3)})), (1, 5, 5))
    print_layers("odd \x1b[31m", odd, odd.rows)
    print_separable(odd, separable_costs(odd))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert shown.count("odd \\x1b[31m [bold]") == 2


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999 B"), (1_000, "1.00 kB"), (32_768, "32.8 kB"), (9_999_999, "10.0 MB"), (1.5e9, "1.50 GB")],
)
def test_bytes_have_a_unit(count: int, text: str) -> None:
    assert memory(count) == text


@pytest.mark.parametrize(
    "name",
    [
        *("mlp", "lenet5", "simplenet", "open_ended_cnn", "step_by_step_cnn", "channel_cnn", "cifar_resnet"),
        *("fast_cifar", "torchvision:squeezenet1_1"),
    ],
)
def test_every_family_can_be_inspected_by_name(name: str) -> None:
    found = json.loads(inspect(name, "--input", "3,32,32", "--classes", "10", "--json"))
    assert found["parameters"] > 0
    assert found["training_bytes"] > 0
    fields = [row["receptive_field"] for row in found["rows"]]
    assert [None, None] not in fields
    assert re.fullmatch(r"[\d,]+", f"{found['macs']:,}")
