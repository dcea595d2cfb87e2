"""The 1,797 handwritten digits that come with scikit-learn: 8×8 pixels, grey, ten classes.

They are the test part of the UCI set of Alpaydin and Kaynak (1998, doi:10.24432/C50P49): 32×32 bitmaps, of which each
pixel here counts the ink in a 4×4 block, 0 to 16. The file is read directly, so that loading 57 kB does not cost
scikit-learn's import; the values are those of ``sklearn.datasets.load_digits``.

Shape key: N examples, H height, W width.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from pathlib import Path
from typing import final

import numpy as np

from assay.data.source import Examples
from assay.errors import DataError

VERSION = 1
"""Raised when what is made of the file changes."""

_INK_MAX = 16


def digits_file() -> Path:
    """Where scikit-learn keeps the file. Found without importing scikit-learn.

    Raises:
        DataError: scikit-learn or the file in it is missing.
    """
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            return path
    raise DataError("Data source digits: scikit-learn's digits.csv.gz was not found. Run: pip install scikit-learn")


@final
class DigitsSource:
    """The digits as uint8 images (1797, 1, 8, 8), without an official test split."""

    def load(self) -> Examples:
        """Read the file.

        An ink count v of 0 to 16 becomes the grey value (255·v + 8) div 16, which is 255·v/16 rounded half up: 0 stays
        0, 16 becomes 255.

        Raises:
            DataError: the file is missing or damaged.
        """
        path = digits_file()
        try:
            lines = gzip.decompress(path.read_bytes()).decode("ascii").splitlines()
            rows = np.array([line.split(",") for line in lines], dtype=np.float64).astype(np.int64)
            ink_NHW, labels_N = rows[:, :64].reshape(-1, 8, 8), rows[:, 64].copy()
        except (OSError, EOFError, ValueError, IndexError) as error:
            raise DataError(f"Data source digits: {path} cannot be read ({error}). Reinstall scikit-learn.") from error
        images_N1HW = ((255 * ink_NHW + _INK_MAX // 2) // _INK_MAX).astype(np.uint8)[:, None]
        return Examples(inputs=images_N1HW, labels_N=labels_N, classes=tuple("0123456789"))

    def fingerprint(self) -> str:
        """SHA-256 of the file and of this reader's version."""
        return hashlib.sha256(digits_file().read_bytes() + f"/digits/{VERSION}".encode()).hexdigest()
