"""Data sources of a user's own, named by dotted path in the tests of this folder."""

import numpy as np

from assay.data.source import Examples


class Stripes:
    """Images whose columns (class 0) or rows (class 1) alternate; the official test split is the last ten."""

    def __init__(self, count=40, version="1"):
        self.count = count
        self.version = version

    def load(self):
        labels_N = np.arange(self.count) % 2
        columns_HW = np.tile(np.array([0, 200], dtype=np.uint8), (6, 3))
        images = np.stack([columns_HW if label == 0 else columns_HW.T for label in labels_N])[:, None]
        noise = np.random.default_rng(0).integers(0, 50, images.shape)
        return Examples(
            inputs=(images + noise).astype(np.uint8),
            labels_N=labels_N,
            classes=("columns", "rows"),
            test_indices=np.arange(self.count - 10, self.count),
        )

    def fingerprint(self):
        return f"{self.count}/{self.version}"


class ForgetfulFingerprint(Stripes):
    def fingerprint(self):
        return "the same whatever the options"


class NoFingerprint:
    def load(self):
        return None


class EmptyFingerprint(Stripes):
    def fingerprint(self):
        return ""
