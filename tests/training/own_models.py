"""Networks, and a data source, of a user's own, named by dotted path in the tests of this folder."""

import random
import warnings

import numpy as np
import torch
from torch import nn

from assay.data.source import Examples


class Restless(nn.Module):
    """Uses every global generator there is, and complains."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, classes))

    def forward(self, x):
        if self.training:
            warnings.warn("restless as ever", stacklevel=2)
            x = x + 0.01 * (torch.randn_like(x) + random.random() + float(np.random.normal()))
        return self.body(x)


class Frozen(nn.Module):
    """Has nothing to train."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.layer = nn.Linear(64, classes).requires_grad_(False)

    def forward(self, x):
        return self.layer(x.flatten(1))


class PartlyUsed(nn.Module):
    """A bfloat16 buffer, a trained layer, a frozen one, and one that nothing reaches."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.register_buffer("scale", torch.ones(1, dtype=torch.bfloat16))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.frozen = nn.Linear(64, 8).requires_grad_(False)
        self.unreached = nn.Linear(3, 3)
        self.out = nn.Linear(8, classes)

    def forward(self, x):
        if self.training:
            self.calls += 1
        return self.out(self.frozen(x.flatten(1)).relu() * self.scale.to(x.dtype))


class BatchNormed(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, classes))

    def forward(self, x):
        return self.layers(x)


class Spiked:
    """Points of which one, number 7, is so far out that no network's loss is finite on it."""

    def __init__(self, spike_tests=False):
        self.spike_tests = spike_tests

    def load(self):
        labels_N = np.arange(60) % 2
        points_ND = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32) + 2 * labels_N[:, None]
        points_ND[7] = (3e38, -3e38)
        test_indices = np.arange(10) if self.spike_tests else np.arange(40, 60)
        return Examples(
            inputs=points_ND.astype(np.float32), labels_N=labels_N, classes=("low", "high"), test_indices=test_indices
        )

    def fingerprint(self):
        return str(self.spike_tests)


class BreaksInTraining(nn.Module):
    """Gives no numbers after some training steps, and sound ones whenever it is measured."""

    def __init__(self, input_shape, classes, after=3):
        super().__init__()
        self.layer = nn.Linear(64, classes)
        self.steps, self.after = 0, after

    def forward(self, x):
        self.steps += self.training
        return self.layer(x.flatten(1)) + (float("nan") if self.training and self.steps > self.after else 0.0)


class Points:
    """Points of three classes in the plane, or what a test makes of them."""

    def __init__(self, scale=(1.0, 1.0), points=90, classes=3):
        self.scale, self.points, self.classes = scale, points, classes

    def load(self):
        labels_N = np.arange(self.points) % self.classes
        angle_N = 2 * np.pi * labels_N / self.classes
        noise_ND = np.random.default_rng(1).normal(size=(self.points, 2))
        points_ND = 3 * np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1) + noise_ND
        return Examples(
            inputs=(points_ND * self.scale).astype(np.float32),
            labels_N=labels_N,
            classes=[f"class {label}" for label in range(self.classes)],
        )

    def fingerprint(self):
        return f"{self.scale} {self.points} {self.classes}"


class DrawsWhenMeasured(nn.Module):
    """Draws from every global generator whenever it is asked, and trains on what it drew."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.layer = nn.Linear(2, classes)

    def forward(self, x):
        return self.layer(x + 0.1 * (torch.randn_like(x) + random.random() + float(np.random.normal())))


class KnowsOnlyItsExamples(nn.Module):
    """Breaks when asked for more examples than there are in any split."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.layer = nn.Linear(2, classes)

    def forward(self, x):
        if len(x) > 500:
            raise IndexError("no such example")
        return self.layer(x)


class KeepsThings(nn.Module):
    """Carries from step to step what is neither a parameter nor in the state_dict."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.layer = nn.Linear(64, classes)
        self.register_buffer("last", torch.zeros(64), persistent=False)
        self.register_buffer("late", None)
        self.mean = torch.zeros(64)
        self.scales = [1.0, (2, {"three": 3.0})]
        self.generator = np.random.default_rng(1)
        self.draws = {"torch": torch.Generator().manual_seed(2), "python": random.Random(3)}
        self.steps = self.asked = 0
        self.favourite = torch.eye(classes)[0]
        self.itself = [self.scales]
        self.itself.append(self.itself)

    def forward(self, x):
        x = x.flatten(1)
        if self.training:
            self.steps += 1
            self.last = x.detach().mean(dim=0)
            self.late = self.last * 2
            self.mean = 0.9 * self.mean + 0.1 * self.last
            self.scales[0] *= 1.01
            noise = torch.rand(x.shape, generator=self.draws["torch"]) + self.draws["python"].random()
            x = x + 0.1 * noise * float(self.generator.normal()) + 0.01 * self.steps
        else:
            self.asked += 1
        late = 0.0 if self.late is None else self.late
        scores = self.layer((x + self.mean - self.last + 0.1 * late) * self.scales[0])
        return scores + 0.01 * self.asked * self.favourite


class AnySize(nn.Module):
    """Takes images of any size, and drops units by torch's own layer."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(input_shape[0], 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )
        self.out = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, classes))

    def forward(self, x):
        return self.out(self.body(x))


class Complains(nn.Module):
    """Warns in its first and its ninth training step."""

    def __init__(self, input_shape, classes):
        super().__init__()
        self.layer = nn.Linear(64, classes)
        self.steps = 0

    def forward(self, x):
        self.steps += self.training
        if self.training and self.steps in (1, 9):
            warnings.warn(f"step {self.steps}", stacklevel=2)
        return self.layer(x.flatten(1))
