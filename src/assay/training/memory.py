"""Freed memory stays with the process, so that the next step finds it there.

The C library gives large blocks back to the operating system when they are freed, and asks for them again at the next
step, each page of which is then cleared anew. Measured on the fast CIFAR network, batches of 1,024: 20 % of the time of
a step.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_NEVER = 2**31 - 1
_GROWTH = 2**26
"""Bytes asked for at a time."""


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep what is freed; False where there is another C library.

    It is a setting of the process, and stays: for worker processes, whose memory goes back when they end.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _GROWTH))
    return all(mallopt(option, value) == 1 for option, value in settings)
