"""Filters: what sees tasks of a pilot before they are scheduled, and their results before they are delivered.

A filter is a class in a module of yours, and runs in a process of its own, which a pilot starts: ``python -m
scalems_pilot.filter MODULE:CLASS`` is the ``run`` of the file that ``scalems pilot start --filter FILE`` takes::

    from scalems_pilot import filter

    class Modest(filter.Filter):
        def task(self, task):
            if task.name == "greedy":
                raise filter.Refused("there is too little for it")
            task.needs["cores_per_rank"] = min(task.needs.get("cores_per_rank", 1), 4)
            return task

An exception fails the task that the filter was asked about, and no other. After a death of whoever keeps it, a filter may be asked of
a task again. What ran in the task's place goes on then, in the places of what it says the second time: it should say the same of
the same task.
"""

from __future__ import annotations

import copy
import ctypes
import dataclasses
import importlib
import os
import signal
import socket
import struct
import sys
import traceback
from typing import Any, Dict, List, Optional, Sequence, Union

import msgpack

from . import codec

__all__ = ["Filter", "Refused", "Result", "Task", "Verdict", "serve"]

_LENGTH = struct.Struct("<I")
#: A frame is at most so long.
FRAME_BYTES = 256 << 20
TEXT_BYTES = 3000
TRACE_BYTES = 16 << 10


class Refused(Exception):
    """Raised by a filter that does not let a task, or its result, pass: the task fails with these words."""


@dataclasses.dataclass
class Task:
    """A task that a filter is asked about, or submits."""

    #: What the pilot runs: mode, needs, policy, name, labels, body, as page 2 of the specification has them.
    template: Dict[str, Any]
    #: Its data, as its mode takes it: :meth:`read` and :meth:`write` know values of page 10.
    data: bytes = b""
    #: The task that the filter was asked about, such as ``5.7``, and its index in its submission. Of what it submits they are not read.
    id: str = ""
    index: int = 0

    @classmethod
    def new(cls, mode: str, value: Any = None, **template: Any) -> "Task":
        """A task of a mode, with a value as its data."""
        task = cls({"mode": mode, **template})
        task.write(value)
        return task

    @property
    def mode(self) -> str:
        """Its mode."""
        return self.template["mode"]

    @property
    def name(self) -> Optional[str]:
        """Its name, for people."""
        return self.template.get("name")

    @property
    def labels(self) -> Dict[str, str]:
        """Its labels; they can be changed."""
        return self.template.setdefault("labels", {})

    @property
    def needs(self) -> Dict[str, Any]:
        """What it needs; it can be changed."""
        return self.template.setdefault("needs", {})

    def read(self) -> Any:
        """The value that its data is. Of a function in a body that is ``[args]`` or ``[args, kwargs]``."""
        return codec.decode(self.data)

    def write(self, value: Any) -> None:
        """Makes a value its data."""
        self.data = codec.encode(value)

    def copy(self) -> "Task":
        """Another one that can be changed."""
        return copy.deepcopy(self)

    def _part(self) -> Dict[str, Any]:
        return {"template": self.template, "data": self.data}


@dataclasses.dataclass
class Result:
    """How a task ended."""

    #: ``done``, ``failed`` or ``canceled``.
    ending: str = "done"
    value: bytes = b""
    exit_code: Optional[int] = None
    #: How long it ran, microseconds.
    ran_us: int = 0
    #: Why it did not end well: ``code``, ``message``, and of functions ``class`` and ``trace``.
    error: Optional[Dict[str, Any]] = None

    @classmethod
    def of(cls, value: Any) -> "Result":
        """One that ended well with a value."""
        result = cls()
        result.write(value)
        return result

    @property
    def ok(self) -> bool:
        """Whether it ended well."""
        return self.ending == "done"

    def read(self) -> Any:
        """Its value, read as what a function returns."""
        return codec.decode(self.value)

    def write(self, value: Any) -> None:
        """Makes this its value."""
        self.value = codec.encode(value)

    def _said(self) -> Dict[str, Any]:
        return dict(vars(self))


@dataclasses.dataclass
class Verdict:
    """What a filter makes of a task."""

    #: What runs in its place; its result is made of theirs.
    tasks: Sequence[Task] = ()
    #: What runs besides, and is nobody's result.
    also: Sequence[Task] = ()


class Filter:
    """What sees tasks and results. One object of it is made, without arguments."""

    def task(self, task: Task) -> Union[None, Task, Sequence[Task], Verdict]:
        """What becomes of a task: itself, changed or not; several; a :class:`Verdict`. None: itself, as it is by then.
        Raises :class:`Refused` where it is not to run."""
        return task

    def result(self, task: Task, results: List[Result]) -> Result:
        """What a task's result is, made of the results of what ran in its place, in order. Raises :class:`Refused` where it is
        not to be delivered."""
        if len(results) != 1:
            raise TypeError(
                f"{len(results)} tasks ran in the place of task {task.id}, and nothing says what their result is: "
                f"{type(self).__name__} has to have result()"
            )
        return results[0]


def serve(filter: Filter) -> None:
    """Answers whoever keeps the filter, until that ends. It speaks on standard input, which is a socket then; what goes to
    standard output and error is for people."""
    try:
        stream = socket.socket(fileno=os.dup(0))
        stream.getpeername()
    except OSError as error:
        sys.exit(f"a filter is started by a pilot (scalems pilot start --filter FILE), not by hand: {error}")
    # What the filter starts is not to read it.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    _send(stream, 0, {"ready": {"software": f"Python {sys.version.split()[0]}"}})
    while True:
        body = _next(stream)
        if body is None:
            return
        number, asked = msgpack.unpackb(body, strict_map_key=False)
        _send(stream, number, _answer(filter, asked))


def _answer(filter: Filter, asked: Dict[str, Any]) -> Dict[str, Any]:
    try:
        if "task" in asked:
            return {"verdict": _verdict(filter, _task(asked["task"]))}
        results = [Result(**result) for result in asked["result"]["results"]]
        result = filter.result(_task(asked["result"]["of"]), results)
        if not isinstance(result, Result):
            raise TypeError(f"result() gives a Result, not {type(result).__name__}")
        return {"result": result._said()}
    except Refused as error:
        return {"refused": _cut(str(error), TEXT_BYTES)}
    except BaseException as error:  # noqa: BLE001  SystemExit too: it is this task's fault
        kind = type(error)
        trace = "".join(traceback.format_exception(kind, error, error.__traceback__))
        said = {"class": f"{kind.__module__}.{kind.__qualname__}", "message": _cut(str(error), TEXT_BYTES)}
        return {"failed": {**said, "trace": _cut(trace[-TRACE_BYTES:], TRACE_BYTES)}}


def _task(said: Dict[str, Any]) -> Task:
    return Task(said["part"]["template"], said["part"]["data"], said["id"], said["index"])


def _verdict(filter: Filter, task: Task) -> Dict[str, Any]:
    made = filter.task(task)
    if made is None:
        made = task
    if isinstance(made, Task):
        made = [made]
    verdict = made if isinstance(made, Verdict) else Verdict(made)
    for one in (*verdict.tasks, *verdict.also):
        if not isinstance(one, Task):
            raise TypeError(f"task() gives tasks, not {type(one).__name__}")
    return {
        "tasks": [one._part() for one in verdict.tasks],
        "also": [one._part() for one in verdict.also],
        "refuse": None,
    }


def _send(stream: socket.socket, number: int, said: Dict[str, Any]) -> None:
    try:
        body = msgpack.packb([number, said])
    except Exception as error:  # noqa: BLE001  a template may have anything in it by now
        text = _cut(f"its answer cannot be written: {error}", TEXT_BYTES)
        body = msgpack.packb([number, {"failed": {"class": type(error).__name__, "message": text, "trace": ""}}])
    if len(body) > FRAME_BYTES:
        text = f"the answer has {len(body)} bytes, and at most {FRAME_BYTES} are sent"
        body = msgpack.packb([number, {"failed": {"class": "TooLarge", "message": text, "trace": ""}}])
    stream.sendall(_LENGTH.pack(len(body)))
    stream.sendall(body)


def _next(stream: socket.socket) -> Optional[bytes]:
    head = _read(stream, _LENGTH.size)
    return None if head is None else _read(stream, _LENGTH.unpack(head)[0])


def _read(stream: socket.socket, count: int) -> Optional[bytes]:
    whole = bytearray(count)
    have = 0
    with memoryview(whole) as view:
        while have < count:
            try:
                more = stream.recv_into(view[have:])
            except ConnectionResetError:
                return None
            if not more:
                return None
            have += more
    return bytes(whole)


def _cut(text: str, most: int) -> str:
    # Surrogates cannot be sent.
    return text.encode("utf-8", "backslashreplace")[:most].decode("utf-8", "ignore")


def _end_with_parent() -> None:
    """Whatever it is at, it ends with whoever keeps it."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def main(arguments: Sequence[str]) -> None:
    """``python -m scalems_pilot.filter MODULE:CLASS``."""
    if len(arguments) != 1 or ":" not in arguments[0]:
        sys.exit("usage: python -m scalems_pilot.filter MODULE:CLASS")
    _end_with_parent()
    # What it prints is seen when it does.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    # The directory in which it begins is that of the filter's file: what lies there is found.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module, _, name = arguments[0].partition(":")
    kind = getattr(importlib.import_module(module), name, None)
    # The module that runs as the main one has classes of its own.
    base = importlib.import_module("scalems_pilot.filter")
    if not isinstance(kind, type) or not issubclass(kind, base.Filter):
        sys.exit(f"{arguments[0]} is no filter: it is a subclass of scalems_pilot.filter.Filter")
    base.serve(kind())


if __name__ == "__main__":
    main(sys.argv[1:])
