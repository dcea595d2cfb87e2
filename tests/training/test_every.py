import pytest

from assay.errors import InputError
from assay.training.every import Every


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("30s", Every(seconds=30.0)),
        ("0.5min", Every(seconds=30.0)),
        ("5min", Every(seconds=300.0)),
        ("2 h", Every(seconds=7200.0)),
        ("1step", Every(steps=1)),
        ("500steps", Every(steps=500)),
        ("never", Every()),
    ],
)
def test_what_people_write(text: str, every: Every) -> None:
    assert Every.parse(text) == every


@pytest.mark.parametrize(
    "text", ["", "5", "min", "0s", "0steps", "1.5steps", "-1s", "5 parsecs", "inf s", "1e3s", "5mins", 5]
)
def test_what_is_no_interval(text: str) -> None:
    with pytest.raises(InputError) as error:
        Every.parse(text)
    assert str(error.value) == (
        "checkpoint_every must be a time such as 30s, 5min or 2h, a number of steps such as 500steps, or never, got "
        f"{text!r}."
    )
