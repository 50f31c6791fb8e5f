"""Tasks that will have ended."""

from __future__ import annotations

import concurrent.futures
import threading
import time
import types
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import Any, List, Mapping, Optional, Tuple

import msgpack

from . import _html, codec, errors

#: With so few tasks under way, who waits for one takes what comes by itself, the shortest way.
FEW = 4
#: How long a worker may take to say whether it has begun with a task, and how often that is looked for, seconds.
WORKER_S, LOOK_S = 2.0, 0.02
#: Held while a condition is made, or something done because there is none.
_making = threading.Lock()
_OVER = (CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED)


class Future(concurrent.futures.Future):
    """A task that was submitted. A future as others, with more to ask.

    Many are made at once, and mostly nobody waits for one or is called back. So what that takes (the condition, and the lists of
    those who are told) is made when it is first asked for: until then a future is one object that Python's garbage collection looks at.
    """

    _state = PENDING
    _result: Any = None
    _exception: Optional[BaseException] = None
    _waiters: Any = ()
    _done_callbacks: Any = ()
    _own_condition: Optional[threading.Condition] = None
    _connection: Any = None
    _handle: Any = None
    _id: Optional[Tuple[int, int]] = None
    _beside: Mapping[str, Any] = types.MappingProxyType({})
    _attempt = 0

    def __init__(self) -> None:
        # All of it is above.
        pass

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        return self._own_condition or self._make_condition()

    def _make_condition(self) -> threading.Condition:
        with _making:
            if self._own_condition is None:
                self._waiters, self._done_callbacks = [], []
                self._own_condition = threading.Condition()
            return self._own_condition

    # What may be asked

    @property
    def task_id(self) -> Optional[str]:
        """The task as people name it, ``SUBMISSION.INDEX``, once the pilot has given it a name."""
        found = self._id or (self._handle.id if self._handle is not None else None)
        return None if found is None else f"{found[0]}.{found[1]}"

    @property
    def attempt(self) -> int:
        """Which attempt ended so, from 1; 0 before, and if none began."""
        # Mostly it is the first one, and nothing is said of it.
        return self._attempt or int(self._state == FINISHED and self._exception is None)

    @property
    def stdout(self) -> str:
        """The end of what the task wrote, once it has ended."""
        return self._beside.get("stdout", b"").decode(errors="replace")

    @property
    def stderr(self) -> str:
        """The end of its errors, once it has ended."""
        return self._beside.get("stderr", b"").decode(errors="replace")

    @property
    def log(self) -> List[Tuple[float, str, str, str]]:
        """The last of its log records: time, level, logger, message."""
        return [tuple(record) for record in self._beside.get("log", [])]

    def progress(self) -> Optional[Tuple[float, str]]:
        """How far the task says that it is, from 0 to 1, and what it is at; none if it does not run, or has not said. Asks the pilot."""
        found = self._id or (self._handle.id if self._handle is not None else None)
        if found is None or self.done():
            return None
        said = msgpack.unpackb(self._connection.session.explain(*found), strict_map_key=False).get("progress")
        return None if said is None else (said["fraction"], said["text"])

    # One look at the state needs no lock.

    def done(self) -> bool:
        """Whether it has ended, or was taken back."""
        return self._state in _OVER

    def cancelled(self) -> bool:
        """Whether it was taken back, or ended as somebody asked."""
        return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED)

    def running(self) -> bool:
        """Never true: it is not told when a task begins. See :meth:`~scalems_pilot.Pilot.tasks`."""
        return False

    def result(self, timeout: Optional[float] = None) -> Any:
        """What the task returned, waited for so long. Raises what it raised; :class:`concurrent.futures.CancelledError` if it was
        taken back, :class:`TimeoutError` if it has not ended by then."""
        if self._state not in _OVER:
            timeout = self._take(timeout)
        if self._state == FINISHED and self._exception is None:
            return self._result
        return super().result(timeout)

    def exception(self, timeout: Optional[float] = None) -> Optional[BaseException]:
        """What the task raised, waited for so long; none if it returned."""
        if self._state not in _OVER:
            timeout = self._take(timeout)
        if self._state == FINISHED:
            return self._exception
        return super().exception(timeout)

    def _take(self, timeout: Optional[float]) -> Optional[float]:
        """Waits for the end where the session's sockets are, if little is under way. Gives what is left of the time."""
        connection = self._connection
        if connection is None or self._handle is None or len(connection.pending) > FEW:
            return timeout
        began = time.monotonic()
        connection.take_end(self._handle, self, timeout)
        return None if timeout is None else max(timeout - (time.monotonic() - began), 0)

    def wait_durable(self, timeout: Optional[float] = None) -> None:
        """Waits until the task has ended and its result is on the pilot's disk: then it outlives agent and client.

        Raises :class:`~scalems_pilot.TimedOut`; :class:`~scalems_pilot.Refused` (``no_journal``) where nothing is kept: an embedded
        pilot, or one that was started with ``--journal none``.
        """
        began = time.monotonic()
        try:
            self.exception(timeout)
        except concurrent.futures.CancelledError:
            pass
        except (concurrent.futures.TimeoutError, TimeoutError) as error:
            raise errors.TimedOut(f"the task has not ended after {timeout} s", "timed_out") from error
        if self._connection is not None:
            left = None if timeout is None else max(timeout - (time.monotonic() - began), 0)
            self._connection.wait_durable(left)

    # What may be done

    def cancel(self) -> bool:
        """Takes the task back if it has not begun. True only if it will not run."""
        if self.done():
            return self.cancelled()
        if self._handle is None:
            return False
        try:
            withdrawn, told, _running, _ended = self._connection.session.cancel_tasks([self._handle], "withdraw", "")
            if withdrawn:
                self._on_cancel()
            elif told:
                self._await_worker()
        except errors.SessionOver:
            return False
        return self.cancelled()

    def _await_worker(self) -> None:
        """The task is with a worker, which was told: waits until it is back, or is known to run."""
        until = time.monotonic() + WORKER_S
        while not self.done() and time.monotonic() < until:
            with self._condition:
                if self._state not in _OVER:
                    self._condition.wait(LOOK_S)
            if not self.done() and b"running" in self._connection.session.tasks(self.task_id, None):
                return

    def request_cancel(self, reason: str = "") -> None:
        """Asks the task to end, also if it runs. Its end comes to this future."""
        self._ask_to_end("request", reason)

    def kill(self, reason: str = "") -> None:
        """Ends the task, also if it runs."""
        self._ask_to_end("kill", reason)

    def _ask_to_end(self, strength: str, reason: str) -> None:
        if not self.done() and self._handle is not None:
            self._connection.session.cancel_tasks_later([self._handle], strength, reason)

    # What the session's thread says

    def _on_end(
        self,
        ending: str,
        value: Optional[bytes],
        task: Optional[Tuple[int, int]],
        attempt: int,
        error: Optional[Tuple[str, str, str, Optional[str], Optional[str], bool]],
    ) -> None:
        self._id = task
        self._attempt = attempt
        if ending == "done":
            self._on_value(value)
        elif ending == "canceled" and (error is None or error[1] == "canceled"):
            self._on_cancel()
        else:
            if value:
                self._beside, value = codec.split_beside(value)
            self._settle_error(exception_of(value, error))

    def _on_value(self, value: Any) -> None:
        try:
            # What was written beside is rare.
            if value and value[:2] == b"\xc1\x02":
                self._beside, value = codec.split_beside(value)
            result = codec.decode(value)
        except BaseException as error:  # noqa: BLE001  a pickle raises what it likes
            self._settle_error(error)
        else:
            if not self.done():
                self.set_result(result)

    def set_result(self, result: Any) -> None:
        """Ends it well, and tells those who wait for it."""
        with _making:
            # Nobody can be told, and who makes a condition looks at the state after that.
            if self._own_condition is None and self._state == PENDING:
                self._result = result
                self._state = FINISHED
                return
        super().set_result(result)

    def _on_fault(self, error: BaseException) -> None:
        self._settle_error(error)

    def _settle_error(self, error: BaseException) -> None:
        if not self.done():
            self.set_exception(error)

    def _on_cancel(self) -> None:
        if not super().cancel():
            return
        with self._condition:
            # Two threads may come here: the one that canceled, and the one that hears of it.
            if self._state == CANCELLED:
                self._state = CANCELLED_AND_NOTIFIED
                for waiter in self._waiters:
                    waiter.add_cancelled(self)

    def _repr_html_(self) -> str:
        state = "not ended"
        if self.done():
            error = None if self.cancelled() else self.exception()
            state = "canceled" if self.cancelled() else "ended" if error is None else f"{type(error).__name__}: {error}"
        return _html.shown("task", self.task_id or "(not sent yet)", state, (), self.stdout + self.stderr)


def exception_of(value: Any, error: Optional[Tuple[str, str, str, Optional[str], Optional[str], bool]]) -> BaseException:
    """The exception that a task's error stands for."""
    if error is None:
        return errors.TaskFailed("the task did not end well, and nothing says why")
    kind, code, message, class_name, trace, retryable = error
    if kind != "TaskFailed":
        made = getattr(errors, kind, errors.ScalemsError)
        return made(message, code)
    if code != "exception":
        return errors.TaskFailed(f"{message} [{code}]", code, trace, retryable)
    found = codec.decode_exception(value) if value else None
    if found is None:
        return errors.RemoteError(class_name or "Exception", message, trace or "")
    if trace:
        found.__cause__ = errors.RemoteTraceback(trace)
    return found
