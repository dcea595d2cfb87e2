import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from splits_of_arrays import scores_of, split_of
from torch import nn

from assay.records import Predictions
from assay.training import evaluate as module
from assay.training.evaluate import evaluate, seconds_per_example


def data(examples=50):
    generator = torch.Generator().manual_seed(3)
    inputs_ND = torch.randn(examples, 4, generator=generator)
    return inputs_ND, torch.randint(0, 3, (examples,), generator=generator)


def test_loss_accuracy_and_probabilities_are_their_definitions():
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9))  # would show if evaluation were in training mode
    inputs_ND, labels_N = data()
    result = evaluate(scores_of(model), split_of(inputs_ND, labels_N))
    with torch.no_grad():
        p_NK = torch.softmax(model[0](inputs_ND).double(), dim=1).numpy()
    y_N = labels_N.numpy()
    np.testing.assert_allclose(result.probabilities_NK.numpy(), p_NK, atol=1e-6)
    assert result.loss == pytest.approx(-np.log(p_NK[np.arange(50), y_N]).mean(), rel=1e-6)
    assert result.accuracy == (p_NK.argmax(axis=1) == y_N).mean()
    assert not model.training


def test_the_batches_do_not_show(monkeypatch):
    model = nn.Linear(4, 3)
    whole = evaluate(scores_of(model), split_of(*data()))
    monkeypatch.setattr(module, "EVALUATION_BATCH", 7)
    parts = evaluate(scores_of(model), split_of(*data()))
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    torch.testing.assert_close(parts.probabilities_NK, whole.probabilities_NK)
    assert parts.correct == whole.correct


def test_what_is_not_a_number_counts_as_wrong_as_it_does_when_read_back():
    model = nn.Linear(4, 3)
    inputs_ND, labels_N = data()
    inputs_ND[5:15] = math.nan
    inputs_ND[20] = 3e38  # logits overflow to infinities
    result = evaluate(scores_of(model), split_of(inputs_ND, labels_N))
    kept = Predictions(
        probabilities_NC=result.probabilities_NK.numpy(), labels_N=labels_N.numpy(), indices_N=np.arange(50)
    )
    assert result.correct == kept.correct_N().sum() < 50
    assert (kept.predicted_N()[5:15] == -1).all()
    assert result.finite_loss is None


def test_probabilities_are_float32_whatever_the_model_computes_in():
    inputs_ND, labels_N = data()
    split = split_of(inputs_ND, labels_N, dtype=torch.float64)
    assert evaluate(scores_of(nn.Linear(4, 3).double()), split).probabilities_NK.dtype == torch.float32


def test_timing_is_per_example(monkeypatch):
    ticks = iter([0.0, 0.010, 1.0, 1.005, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5])
    monkeypatch.setattr(module, "perf_counter", lambda: next(ticks))
    assert seconds_per_example(scores_of(nn.Linear(4, 3)), split_of(*data())) == pytest.approx(0.005 / 50)


class Doubling(nn.Module):
    """Writes to its input, as an activation in place does that comes first."""

    def forward(self, x_BK):
        return x_BK.mul_(2.0)


def test_a_model_that_writes_to_its_input_changes_no_data():
    inputs_ND, labels_N = data()
    split = split_of(inputs_ND[:, :3], labels_N)
    first = evaluate(scores_of(Doubling()), split).loss
    assert evaluate(scores_of(Doubling()), split).loss == first


GROWTH = """
import numpy as np
import torch
from assay.data.batches import SplitData, training_batches
from assay.data.normalize import fit
from assay.data.on_device import Normalizer, RawExamples
from assay.recipe.schema import Augment, Train
from assay.training.arithmetic import Arithmetic
from assay.training.engines.with_torch import scores_of
from assay.training.evaluate import evaluate

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))

torch.set_num_threads(1)
images = np.zeros((10_000, 3, 64, 64), dtype=np.uint8)  # never written to, so they take no memory
places = np.arange(len(images))
cpu = torch.device("cpu")
normalizer = Normalizer(fit(images, places[:100], "channel", 1e-3), dtype=torch.float32, device=cpu)
split = SplitData(RawExamples(images, cpu), normalizer, places, torch.zeros(len(images), dtype=torch.int64))
for _ in training_batches(split, Augment(crop_padding=4), classes=10, batch_size=64, epochs=1, seed=0):
    pass  # leaves holes of a batch's size in memory, as an epoch of training does
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64 * 64, 10))
arithmetic = Arithmetic(Train(), cpu)
before = anonymous()
evaluate(lambda x_BCHW: scores_of(model, arithmetic, x_BCHW), split)
print(anonymous() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_batches():
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 100  # MiB; the batches are 470 together
