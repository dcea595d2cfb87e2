"""How a trial's exception becomes a `TrialFailedError`, in this process or in another."""

from __future__ import annotations

import traceback

from assay.errors import AssayError
from assay.studies.executors.contract import TrialFailedError


def raised(error: BaseException) -> TrialFailedError:
    """Describe an exception in text alone, since not every exception can be pickled."""
    trial = error.__traceback__.tb_next if error.__traceback__ is not None else None  # not the executor's own frame
    trace = "".join(traceback.format_exception(type(error), error, trial))
    message = str(error) if isinstance(error, AssayError) else "".join(traceback.format_exception_only(error)).strip()
    return TrialFailedError("raised", message, trace)
