"""Networks of a user's own, named by dotted path in the tests of this folder."""

import torch
from torch import nn


class Tiny(nn.Module):
    """One hidden layer with tied halves, a norm with two-dimensional gain, and torch's own dropout."""

    def __init__(self, input_shape, classes, *, width=7):
        super().__init__()
        self.hidden = nn.LazyLinear(width)
        self.norm = nn.LayerNorm((1, width))
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(width, classes)

    def forward(self, x):
        return self.out(self.drop(self.norm(self.hidden(x.flatten(1))[:, None])[:, 0].relu()))


class WrongOutput(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.layer = nn.Linear(4, classes + 1)

    def forward(self, x):
        return self.layer(x.flatten(1)[:, :4])


class NotTensor(WrongOutput):
    def forward(self, x):
        return [super().forward(x)]


class NothingToTrain(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.classes = classes

    def forward(self, x):
        return torch.zeros(len(x), self.classes)


class NoModule:
    def __init__(self, input_shape, classes):
        pass
