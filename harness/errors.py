"""Every error the harness raises on purpose, and the exit code it ends with.

::

    HarnessError
    ├── UsageError              exit 2: what was asked for cannot be done as asked
    │   ├── ConfigError         a field, its value, what is allowed
    │   ├── DatasetError        a manifest, a clip, a checksum
    │   ├── WeightsError        a model's files are missing or are not what was pinned
    │   └── DeviceError         a device, a dtype or an option that is not there
    └── RunError                exit 4: the run happened, and cannot be relied on
        ├── StorageError        the run's folder could not be written or read
        └── BaselineError       no baseline, or figures that may not be compared

Anything else that escapes is a defect of the harness: exit 1, with its traceback.
"""

from __future__ import annotations


class HarnessError(Exception):
    """What went wrong, the value seen, what is allowed, and the next step.

    ``str(error)`` is the text for a person: the first line says what, further lines the rest.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        value: object = None,
        allowed: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.value = value
        self.allowed = allowed
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what if self.value is None else f"{self.what}: {self.value!r}"]
        if self.allowed is not None:
            lines.append(f"  allowed: {self.allowed}")
        if self.hint is not None:
            lines.append(f"  next:    {self.hint}")
        return "\n".join(lines)


class UsageError(HarnessError):
    exit_code = 2


class ConfigError(UsageError):
    pass


class DatasetError(UsageError):
    pass


class WeightsError(UsageError):
    pass


class DeviceError(UsageError):
    pass


class RunError(HarnessError):
    exit_code = 4


class StorageError(RunError):
    pass


class BaselineError(RunError):
    pass
