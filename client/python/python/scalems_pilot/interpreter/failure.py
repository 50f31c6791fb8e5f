"""What is told of a call that did not end well."""

from __future__ import annotations

import os
import traceback
from typing import Any, NamedTuple, Optional, Tuple, Union

from .. import codec
from .calls import WrongCall

VALUE_BYTES = 64 << 20
TEXT_BYTES = 3000
TRACE_BYTES = 16 << 10


class Failure(NamedTuple):
    """Why it failed, as page 10 of the specification has it."""

    #: ``exception``, ``wrong_call`` or ``wrong_result``.
    code: str
    #: ``module.name`` of the exception's class, its text, and its traceback.
    kind: str
    message: str
    trace: str
    #: The exception itself, if the function raised it and it can be sent.
    value: Optional[bytes]


def failure_of(error: BaseException) -> Failure:
    """What is told of an exception that came out of a call."""
    if isinstance(error, WrongCall):
        return _failure("wrong_call", error, error.__cause__)
    # The frames stay here: they hold whatever the function had.
    data = _bytes_of(error)
    if data is not None and len(data) > VALUE_BYTES:
        data = None
    return _failure("exception", error, error)._replace(value=data)


def written(value: Any) -> Tuple[Union[bytes, codec.Parts], Optional[Failure]]:
    """The bytes of what a function has returned, or why it cannot be sent."""
    try:
        data = codec.encode_parts(value)
    except BaseException as error:  # noqa: BLE001  whatever its class does when it is pickled
        return b"", _failure("wrong_result", error, error.__cause__)
    if len(data) > VALUE_BYTES:
        text = f"the result has {len(data)} bytes, and at most {VALUE_BYTES} are sent: write a file and return its name"
        return b"", _failure("wrong_result", codec.CodecError(text), None)
    return data, None


def enter(directory: str) -> None:
    """Goes to the directory that a call wants."""
    try:
        os.chdir(directory)
    except OSError as error:
        raise WrongCall(f"its cwd {directory!r} cannot be entered: {error.strerror}") from error


def _failure(code: str, error: BaseException, cause: Optional[BaseException]) -> Failure:
    kind = type(cause or error)
    try:
        text = str(error)
    except Exception as problem:  # noqa: BLE001  its class may do anything
        text = f"its message cannot be shown: {type(problem).__name__}"
    try:
        trace = _trace(cause) if cause is not None else ""
    except Exception:  # noqa: BLE001  as above
        trace = ""
    return Failure(code, f"{kind.__module__}.{kind.__qualname__}", _cut(text, TEXT_BYTES), trace, None)


def _bytes_of(error: BaseException) -> Optional[bytes]:
    try:
        return codec.encode_exception(error)
    except BaseException:  # noqa: BLE001  whatever its class does when it is pickled
        return None


def _trace(error: BaseException) -> str:
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if len(text) > TRACE_BYTES:
        text = text[: TRACE_BYTES // 4] + "\n  [cut]\n" + text[-3 * TRACE_BYTES // 4 :]
    return _cut(text, 4 * TRACE_BYTES)


def _cut(text: str, most: int) -> str:
    # Surrogates cannot be sent.
    return text.encode("utf-8", "backslashreplace")[:most].decode("utf-8", "ignore")
