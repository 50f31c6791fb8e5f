"""What can go wrong. Each says what happened, to what, and what to do about it."""

from __future__ import annotations

import concurrent.futures
from typing import Optional

__all__ = [
    "ForkedSession",
    "MissingPackage",
    "PilotNotFound",
    "Refused",
    "RemoteError",
    "RemoteTraceback",
    "ScalemsError",
    "SessionOver",
    "TaskFailed",
    "TimedOut",
    "WouldDeadlock",
]


class ScalemsError(Exception):
    """Whatever this package raises by itself. ``code`` is one of page 8 of the specification, or empty."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return type(self), (*self.args, self.code)


class PilotNotFound(ScalemsError):
    """No pilot was found, not which one, or it does not answer."""


class Refused(ScalemsError):
    """The pilot refused what was asked for; nothing was changed."""


# From Python 3.11 on the two are one.
_TIMEOUTS = tuple(dict.fromkeys((TimeoutError, concurrent.futures.TimeoutError)))


class TimedOut(ScalemsError, *_TIMEOUTS):  # type: ignore[misc]
    """What was waited for did not come in time. It may still come."""


class SessionOver(ScalemsError):
    """The session with the pilot is over, and with it all that had not ended."""


class ForkedSession(ScalemsError):
    """A session is used in a process that was forked from the one that opened it."""


class MissingPackage(ScalemsError, ImportError):
    """A package that a part of this one works with is not installed, or cannot be imported."""

    @classmethod
    def of(cls, package: str, cause: ImportError) -> "MissingPackage":
        """For a package that is also the name of an extra."""
        return cls(f"{package} cannot be imported ({cause}): install it by pip install 'scalems-pilot[{package}]'")


class TaskFailed(ScalemsError):
    """A task did not end well, for another reason than an exception of its own: ``code`` says which."""

    def __init__(self, message: str, code: str = "", trace: Optional[str] = None, retryable: bool = False) -> None:
        super().__init__(message, code)
        self.trace = trace
        self.retryable = retryable

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return type(self), (*self.args, self.code, self.trace, self.retryable)


class WouldDeadlock(ScalemsError):
    """A task waits for a child that cannot begin before it ends itself, or has not begun in time. The child was taken back."""


class RemoteError(ScalemsError):
    """A function raised an exception that cannot be rebuilt here."""

    def __init__(self, class_name: str, message: str, traceback: str = "") -> None:
        super().__init__(f"{class_name}: {message}" if message else class_name, "exception")
        self.class_name = class_name
        self.message = message
        self.traceback = traceback

    def __str__(self) -> str:
        shown = super().__str__()
        return f"{shown}\n\n{self.traceback}" if self.traceback else shown

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return type(self), (self.class_name, self.message, self.traceback)


class RemoteTraceback(Exception):
    """The cause of an exception that a function raised elsewhere: where it was raised."""

    def __init__(self, traceback: str) -> None:
        super().__init__(traceback)
        self.traceback = traceback

    def __str__(self) -> str:
        return f"\n\"\"\"\n{self.traceback.rstrip()}\n\"\"\""
