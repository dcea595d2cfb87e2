import dataclasses

import numpy as np
import pytest

from assay.errors import StoreError
from assay.metrics.classification import classification_report
from assay.metrics.evaluation import reports_read, reports_written
from assay.records import Predictions


def a_report():
    rng = np.random.default_rng(0)
    probabilities_NC = rng.dirichlet(np.ones(7), size=50).astype(np.float32)
    labels_N = rng.integers(0, 7, size=50)
    return classification_report(
        Predictions(probabilities_NC=probabilities_NC, labels_N=labels_N, indices_N=np.arange(50))
    )


def test_what_is_written_is_read() -> None:
    reports = {"val": a_report(), "test": a_report()}
    assert reports_read(reports_written(reports)) == reports


def test_a_report_without_probabilities_is_read() -> None:
    report = dataclasses.replace(a_report(), reliability=None)
    assert reports_read(reports_written({"test": report})) == {"test": report}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"test": {}}',
        reports_written({"test": a_report()})[:-20],
        reports_written({"test": a_report()}).replace(b'"examples":50', b'"examples":-1'),
        reports_written({"test": a_report()}).replace(b'"examples":50', b'"examples":NaN'),
        reports_written({"test": a_report()}).replace(b'"test"', b'"elsewhere"'),
    ],
    ids=["empty", "list", "no fields", "cut off", "negative", "not a number", "no split"],
)
def test_a_damaged_file_is_refused(content: bytes) -> None:
    with pytest.raises(StoreError, match="is damaged"):
        reports_read(content)
