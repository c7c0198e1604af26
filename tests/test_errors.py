"""Every error has its exit code, and says what, value, allowed and next, in this order."""

from __future__ import annotations

import pytest

from harness import errors
from harness.errors import HarnessError


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("UsageError", 2), ("ConfigError", 2), ("DatasetError", 2), ("WeightsError", 2),
        ("DeviceError", 2), ("RunError", 4), ("StorageError", 4), ("BaselineError", 4),
    ],
)  # fmt: skip
def test_an_error_ends_with_its_exit_code(name: str, code: int) -> None:
    error = getattr(errors, name)("a thing")
    assert isinstance(error, HarnessError)
    assert error.exit_code == code


def test_every_error_of_the_module_is_drawn_in_its_docstring() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert all(one.__name__ in (errors.__doc__ or "") for one in classes)


def test_the_text_says_what_value_allowed_and_next() -> None:
    error = HarnessError("field", value="x", allowed="1 or more", hint="set field=1")
    assert str(error) == "field: 'x'\n  allowed: 1 or more\n  next:    set field=1"
    assert str(HarnessError("field")) == "field"
    assert str(HarnessError("field", value=0)) == "field: 0"  # a value that is false is one
