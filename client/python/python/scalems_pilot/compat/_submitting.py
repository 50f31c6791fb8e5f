"""Envelopes as tasks of a session."""

from __future__ import annotations

import sys
from typing import Any, Dict, Mapping, Union

import msgpack

from .. import codec
from .._functions import module_path
from ..executor import Submitter
from ..future import Future
from ..pilot import Pilot
from ..program import ProgramFuture

Where = Union[Pilot, Submitter]
#: Modes that call something in an interpreter.
CALLS = ("task.function", "task.method", "task.eval", "task.exec")


def submit(where: Where, envelope: Mapping[str, Any]) -> Future:
    """Submits one task, on the session of a pilot or an executor. Raises :class:`Refused`."""
    connection = where._connection
    template = {key: value for key, value in envelope.items() if key != "data"}
    if "meta" in template:
        template["meta"] = msgpack.packb(template["meta"], default=str)
    is_call = template["mode"] in CALLS
    future = Future() if is_call else ProgramFuture()
    data = _call(envelope["data"]) if is_call else msgpack.packb(envelope["data"])
    future._connection = connection
    future._handle = connection.submit(connection.template(template), data, future)
    return future


def _call(call: Mapping[str, Any]) -> bytes:
    """A call with its arguments in it. It runs in this Python, as calls of an executor do, if it does not say another."""
    made: Dict[str, Any] = {"python": sys.executable, "path": module_path(), **call}
    args, kwargs = made.pop("args", []), made.pop("kwargs", {})
    if args or kwargs:
        made["args"] = codec.encode_arguments(args, kwargs)
    return msgpack.packb(made)
