"""assay finds out what each ingredient of an image classifier's training recipe is worth.

>>> import assay
>>> study = assay.load("labs/digits/dropout.yaml")  # doctest: +SKIP
>>> results = assay.run(study)  # doctest: +SKIP
>>> assay.report(results)  # doctest: +SKIP

Importing assay loads neither torch nor scipy nor scikit-learn; they are imported where they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.api import load, report, run
    from assay.errors import (
        AssayError,
        ClaimNotSupportedError,
        DataError,
        InputError,
        InterruptedStudyError,
        InvalidValueError,
        MissingExtraError,
        RunFailedError,
        ShapeError,
        StoreError,
        StudyFileError,
    )
    from assay.recipe.fingerprint import NUMERICS
    from assay.recipe.schema import Recipe
    from assay.studies.design import Study
    from assay.studies.results import StudyResults
    from assay.training.describe import inspect

__version__ = "0.1.0"

__all__ = [
    "NUMERICS",
    "AssayError",
    "ClaimNotSupportedError",
    "DataError",
    "InputError",
    "InterruptedStudyError",
    "InvalidValueError",
    "MissingExtraError",
    "Recipe",
    "RunFailedError",
    "ShapeError",
    "StoreError",
    "Study",
    "StudyFileError",
    "StudyResults",
    "__version__",
    "inspect",
    "load",
    "report",
    "run",
]

_HOME = {
    "NUMERICS": "assay.recipe.fingerprint",
    "Recipe": "assay.recipe.schema",
    "Study": "assay.studies.design",
    "StudyResults": "assay.studies.results",
    "inspect": "assay.training.describe",
    "load": "assay.api",
    "report": "assay.api",
    "run": "assay.api",
    **{name: "assay.errors" for name in __all__ if name.endswith("Error")},
}


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'assay' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
