"""Networks of a user's own that are sequences of layers, some that only look like it, and images for larger ones."""

import math

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from assay.data.source import Examples
from assay.models.layers import Dropout


class LargeDigits:
    """200 of scikit-learn's digits, each pixel a square of 4: images of 32×32."""

    def load(self):
        pixels, labels_N = load_digits(return_X_y=True)
        images = np.kron(pixels[:200].reshape(-1, 1, 8, 8), np.ones((4, 4))) * 15
        return Examples(inputs=images.astype(np.uint8), labels_N=labels_N[:200], classes=tuple("0123456789"))

    def fingerprint(self):
        return "1"


class ThreeLayers(nn.Sequential):
    """Convolution, affine, affine: with batch norm of both kinds, dropout, and a nested sequence."""

    def __init__(self, input_shape, classes, seed=3):
        channels, height, width = input_shape
        units = 8 * ((height + 1) // 2) * math.ceil(width / 2)
        super().__init__(
            nn.Sequential(nn.Conv2d(channels, 8, (3, 5), padding=(1, 2), bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            nn.Identity(),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Flatten(),
            nn.Linear(units, 20),
            nn.BatchNorm1d(20, momentum=0.3, eps=1e-3),
            nn.Tanh(),
            Dropout(0.3, seed=seed, layer="dropout"),
            nn.Linear(20, classes),
        )


class ConvolutionFirst(nn.Sequential):
    """One convolution with the options given, and a linear layer after it."""

    def __init__(self, input_shape, classes, **options):
        convolution = nn.Conv2d(input_shape[0], 2, 3, **options)
        super().__init__(convolution, nn.Flatten(), nn.LazyLinear(classes))


class Unknown(nn.Sequential):
    def __init__(self, input_shape, classes):
        super().__init__(nn.Flatten(), nn.Linear(math.prod(input_shape), classes), nn.Softsign())


class Lenient(nn.ReLU):
    """A subclass that computes something else."""

    def forward(self, x):
        return x


class WithSubclass(nn.Sequential):
    def __init__(self, input_shape, classes):
        super().__init__(nn.Flatten(), nn.Linear(math.prod(input_shape), classes), Lenient())


class Detour(nn.Sequential):
    """A sequence by class, but not by what it does."""

    def __init__(self, input_shape, classes):
        super().__init__(nn.Flatten(), nn.Linear(math.prod(input_shape), classes))

    def forward(self, x):
        return 2.0 * super().forward(x)


class Reused(nn.Sequential):
    """One activation and one dropout layer in two places each, which torch then calls twice."""

    def __init__(self, input_shape, classes, seed=3):
        bent, dropped = nn.Tanh(), Dropout(0.3, seed=seed, layer="dropout")
        first, second = nn.Linear(math.prod(input_shape), 12), nn.Linear(12, 12)
        super().__init__(nn.Flatten(), first, bent, dropped, second, bent, dropped, nn.Linear(12, classes))


class Squares(nn.Sequential):
    """A layer in the middle that something happens to which a list of layers does not tell."""

    def __init__(self, input_shape, classes, what):
        middle = nn.Linear(12, 12)
        again = middle if what == "twice" else nn.Linear(12, 12)
        super().__init__(
            nn.Flatten(), nn.Linear(math.prod(input_shape), 12), middle, nn.ReLU(), again, nn.Linear(12, classes)
        )
        if what == "tied":
            again.weight = middle.weight
        if what == "frozen":
            middle.weight.requires_grad_(False)
        if what == "hook":
            middle.register_forward_hook(lambda module, given, y: 2.0 * y)
        if what == "forward":
            middle.forward = lambda x: 2.0 * nn.Linear.forward(middle, x)
        if what == "beside":
            self.scale = nn.Parameter(torch.ones(3))


class LinearOnImages(nn.Sequential):
    """A linear layer along the rows of an image, which torch allows."""

    def __init__(self, input_shape, classes):
        channels, rows, columns = input_shape
        super().__init__(nn.Linear(columns, 4), nn.Flatten(), nn.Linear(channels * rows * 4, classes))


class Untrainable(nn.Sequential):
    """Ten maxima of an image of 8×8, which no training changes."""

    def __init__(self, input_shape, classes):
        super().__init__(nn.MaxPool2d(4, stride=(4, 1)), nn.Flatten())
