"""Tasks that were submitted, with the names that RADICAL-Pilot has for what there is to know of one."""

from __future__ import annotations

import concurrent.futures
import time
from typing import Any, Dict, Iterable, List, Mapping, Optional, Union

import msgpack

from ...errors import RemoteError, RemoteTraceback, ScalemsError, TimedOut
from ...future import Future
from ...program import ProgramResult
from .._submitting import Where
from .._submitting import submit as submit_envelope
from .descriptions import envelope

__all__ = ["Task", "submit", "wait"]

ATTRIBUTES = ("uid", "name", "state", "exit_code", "stdout", "stderr", "return_value", "exception", "exception_detail")
NEW, SCHEDULING, PENDING, EXECUTING = "NEW", "AGENT_SCHEDULING", "AGENT_EXECUTING_PENDING", "AGENT_EXECUTING"
DONE, FAILED, CANCELED = "DONE", "FAILED", "CANCELED"
#: Our states of tasks as theirs; what has not begun is being scheduled.
STATES = {"leased": PENDING, "running": EXECUTING, "done": DONE, "failed": FAILED, "canceled": CANCELED}


def submit(where: Where, descriptions: Union[Mapping[str, Any], Iterable[Any]]) -> List["Task"]:
    """Runs tasks on a pilot (or an executor's): a description, or several, as dictionaries or ``rp.TaskDescription``.

    All of them are read before the first is submitted. Raises :class:`UnsupportedDescription`. What the pilot refuses is the
    end of the task.
    """
    several = [descriptions] if _is_one(descriptions) else list(descriptions)
    read = [_fields(one) for one in several]
    envelopes = [envelope(fields) for fields in read]
    return [Task(submit_envelope(where, made), fields) for made, fields in zip(envelopes, read)]


def wait(tasks: Iterable["Task"], timeout: Optional[float] = None) -> List[str]:
    """Waits until all have ended, and gives their states. Raises :class:`TimedOut`."""
    until = None if timeout is None else time.monotonic() + timeout
    return [task.wait(None if until is None else max(until - time.monotonic(), 0)) for task in tasks]


class Task:
    """A task that was submitted; :attr:`future` is what the rest of this package knows it by."""

    def __init__(self, future: Future, description: Mapping[str, Any]) -> None:
        self.future = future
        self.description = dict(description)

    @property
    def uid(self) -> str:
        """That of its description, else how the pilot names it once it has."""
        return str(self.description.get("uid") or self.future.task_id or "")

    @property
    def name(self) -> str:
        """That of its description."""
        return str(self.description.get("name") or "")

    @property
    def state(self) -> str:
        """``NEW``, ``AGENT_SCHEDULING``, ``AGENT_EXECUTING_PENDING``, ``AGENT_EXECUTING``, ``DONE``, ``FAILED`` or ``CANCELED``.

        Until it has ended the pilot is asked.
        """
        if self.future.done():
            return self._end()
        if self.future.task_id is None:
            return NEW
        rows, _ = msgpack.unpackb(self.future._connection.session.tasks(self.future.task_id, None), strict_map_key=False)
        return STATES.get(rows[0]["state"], SCHEDULING) if rows else SCHEDULING

    def _end(self) -> str:
        if self.future.cancelled():
            return CANCELED
        if self.future.exception() is not None:
            return FAILED
        program = self._program()
        return DONE if program is None or program.ok else CANCELED if program.ending == "canceled" else FAILED

    def wait(self, timeout: Optional[float] = None) -> str:
        """Waits for its end, and gives its state. Raises :class:`TimedOut`."""
        if not concurrent.futures.wait([self.future], timeout).done:
            raise TimedOut(f"task {self.uid} has not ended within {timeout} s: it goes on, and may be waited for again")
        return self._end()

    def cancel(self) -> None:
        """Asks it to end."""
        self.future.request_cancel("canceled by who submitted it")

    @property
    def exit_code(self) -> Optional[int]:
        """Of a program that has ended; of a call 0 if it returned, else 1."""
        program = self._program()
        if program is not None:
            return program.exit_code
        return None if not self.future.done() or self.future.cancelled() else int(self._error() is not None)

    @property
    def stdout(self) -> str:
        """The end of what it wrote, once it has ended."""
        program = self._program()
        return self.future.stdout if program is None else program.stdout

    @property
    def stderr(self) -> str:
        """The end of its errors, once it has ended."""
        program = self._program()
        return self.future.stderr if program is None else program.stderr

    @property
    def return_value(self) -> Any:
        """What the call returned, if it did."""
        is_there = self.future.done() and self._error() is None and self._program() is None
        return self.future.result() if is_there and not self.future.cancelled() else None

    @property
    def exception(self) -> Optional[str]:
        """Why it did not end well, as text."""
        program = self._program()
        if program is not None:
            return None if program.ok else f"{program.message} [{program.code}]"
        error = self._error()
        return None if error is None else repr(error)

    @property
    def exception_detail(self) -> Optional[str]:
        """The traceback of what a call raised."""
        error = self._error()
        if isinstance(error, RemoteError):
            return error.traceback
        if isinstance(error, ScalemsError):
            return str(error)
        cause = getattr(error, "__cause__", None)
        return cause.traceback if isinstance(cause, RemoteTraceback) else None

    def as_dict(self) -> Dict[str, Any]:
        """All of it, by RADICAL-Pilot's names."""
        return {"type": "task", "description": self.description, **{name: getattr(self, name) for name in ATTRIBUTES}}

    def _error(self) -> Optional[BaseException]:
        return self.future.exception() if self.future.done() and not self.future.cancelled() else None

    def _program(self) -> Optional[ProgramResult]:
        if not self.future.done() or self.future.cancelled() or self.future.exception() is not None:
            return None
        result = self.future.result()
        return result if isinstance(result, ProgramResult) else None

    def __repr__(self) -> str:
        return f"<Task {self.uid} {self.state}>"

    def _repr_html_(self) -> str:
        return self.future._repr_html_()


def _is_one(descriptions: Any) -> bool:
    return isinstance(descriptions, Mapping) or hasattr(descriptions, "as_dict")


def _fields(description: Any) -> Dict[str, Any]:
    found = description.as_dict() if hasattr(description, "as_dict") else description
    if not isinstance(found, Mapping):
        raise TypeError(f"a task description is a dictionary, or has as_dict(), not {description!r}")
    return dict(found)
