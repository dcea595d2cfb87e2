"""Where tests keep checkpoints, and how they look at tensors."""

from __future__ import annotations

import torch
from torch import Tensor


class Kept:
    """A checkpoint's file in memory, which counts what is written to it."""

    def __init__(self, content: bytes | None = None) -> None:
        self.content = content
        self.written = 0

    def read(self) -> bytes | None:
        return self.content

    def write(self, data: bytes) -> None:
        self.content = data
        self.written += 1


def bits(tensor: Tensor) -> list[int]:
    values: list[int] = tensor.clone(memory_format=torch.contiguous_format).flatten().view(torch.uint8).tolist()
    return values
