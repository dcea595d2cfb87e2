"""Networks and data sources with one planted mistake each, named by dotted path in the tests of this folder."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from assay.data.source import Examples


def small_net(input_shape, classes):
    features = int(np.prod(input_shape))
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, classes))


class Sound(nn.Module):
    """A small network, to be spoilt by those below."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.body = small_net(input_shape, classes)

    def forward(self, x):
        return self.body(x)


class SoftmaxTwice(Sound):
    def forward(self, x):
        return self.body(x).softmax(dim=1)


class LogSoftmaxTwice(Sound):
    """Which is no mistake: the second one changes nothing."""

    def forward(self, x):
        return self.body(x).log_softmax(dim=1)


class LastRelu(Sound):
    def forward(self, x):
        return torch.relu(self.body(x))


class LastSigmoid(Sound):
    def forward(self, x):
        return self.body(x).sigmoid().reshape(len(x), -1)


class LastTanh(Sound):
    def forward(self, x):
        return torch.tanh(self.body(x))


class AllFrozen(Sound):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        self.requires_grad_(False)


class AllZero(Sound):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


class AllAlike(Sound):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.05)


class ZeroHead(Sound):
    """Which is no mistake: the last weights learn at the first step."""

    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        nn.init.zeros_(self.body[-1].weight)
        nn.init.zeros_(self.body[-1].bias)


class HugeScores(Sound):
    def forward(self, x):
        return 60.0 * self.body(x)


class MixesTheBatch(Sound):
    def forward(self, x):
        return self.body(x - x.mean(dim=0, keepdim=True))


class CutGradient(Sound):
    def forward(self, x):
        return self.body[3](self.body[:3](x).detach())


class UnusedLayer(Sound):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        self.forgotten = nn.Linear(3, 3)


class IgnoresImages(Sound):
    def forward(self, x):
        return self.body(torch.zeros_like(x))


class DeadUnits(Sound):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        with torch.no_grad():
            self.body[1].bias.fill_(-30.0)


class SaturatedUnits(nn.Module):
    """Whose activation is a function, not a layer."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.first, self.last = nn.Linear(int(np.prod(input_shape)), 64), nn.Linear(64, classes)
        with torch.no_grad():
            self.first.weight *= 200.0

    def forward(self, x):
        return self.last(torch.tanh(self.first(x.flatten(1))))


class NoNumbers(Sound):
    def forward(self, x):
        return self.body(x).log()


class BreaksInTraining(Sound):
    def forward(self, x):
        if self.training:
            raise KeyError("no such thing")
        return self.body(x)


class Digits:
    """scikit-learn's digits with official splits, spoilt as the option says."""

    def __init__(self, mistake="none"):
        self.mistake = mistake

    def load(self):
        found = load_digits()
        images_NCHW = (found.images * 15).astype(np.uint8)[:, None]
        labels_N = found.target.astype(np.int64)
        order_N = np.random.default_rng(0).permutation(len(labels_N))
        images_NCHW, labels_N = images_NCHW[order_N], labels_N[order_N]
        test, val = np.arange(1500, 1797), np.arange(1200, 1500)
        keep = np.ones(len(labels_N), dtype=bool)
        if self.mistake == "test not normalised":
            images_NCHW[test] //= 8
        elif self.mistake == "validation in training":
            images_NCHW[:100], labels_N[:100] = images_NCHW[val[:100]], labels_N[val[:100]]
        elif self.mistake == "class missing":
            keep[:1200] = labels_N[:1200] != 7
        elif self.mistake == "labels shuffled":
            labels_N = np.random.default_rng(1).permutation(labels_N)
        elif self.mistake == "imbalance":
            keep[:1200] = (labels_N[:1200] != 7) | (np.cumsum(labels_N[:1200] == 7) <= 5)
        elif self.mistake == "contradictions":
            images_NCHW[:40] = images_NCHW[40:80]
        elif self.mistake == "blank":
            images_NCHW[:60] = 0
        inside = np.cumsum(keep) - 1
        return Examples(
            inputs=images_NCHW[keep],
            labels_N=labels_N[keep],
            classes=[str(digit) for digit in range(10)],
            test_indices=inside[test],
            val_indices=inside[val],
        )

    def fingerprint(self):
        return self.mistake


class SavedAnew:
    """Made-up pictures of 32 × 32 in two classes, of which validation has some of training, brightened."""

    def __init__(self, share=0.3):
        self.share = share

    def load(self):
        generator = np.random.default_rng(3)
        coarse = generator.normal(size=(400, 1, 8, 8))
        pictures = np.kron(coarse, np.ones((1, 1, 4, 4))) * 25 + generator.normal(size=(400, 1, 32, 32)) * 8 + 120
        labels_N = np.arange(400) % 2
        pictures[labels_N == 1, :, :16] += 40
        val = np.arange(300, 400)
        copied = val[: int(self.share * len(val))]
        pictures[copied] = pictures[copied - 200] * 1.05
        return Examples(
            inputs=pictures.clip(0, 255).astype(np.uint8),
            labels_N=labels_N,
            classes=("even", "odd"),
            val_indices=val,
        )

    def fingerprint(self):
        return str(self.share)
