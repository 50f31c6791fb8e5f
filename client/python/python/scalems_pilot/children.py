"""Children: tasks that a task submits.

A slot that is held by a task that waits is a slot in which nothing else runs. Where all of them are held so, by parents whose
children have not begun, nothing would ever go on. So a parent that waits for a child which has not begun takes it back and
calls it itself, in its own place: it waits only for children that run. A child that needs more than its parent has cannot be called
there. It has to begin in time, or the wait for it ends with :class:`WouldDeadlock`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
import weakref
from typing import Any, Callable, List, Optional, Set, Tuple

import msgpack

from . import _native, _task, codec
from ._connection import Connection
from ._options import Options
from .errors import ScalemsError, TaskFailed, WouldDeadlock
from .executor import FUNCTION, Common, Submitter, open_session
from .future import LOOK_S, WORKER_S, Future

__all__ = ["Child", "Children"]

#: The label by which children are found: ``scalems task list label:parent=5.7``.
PARENT = "parent"
#: A session whose interpreter has ended without a word is given up after so long, and its children canceled, seconds.
CANCEL_AFTER_S = 60.0
#: A child that runs elsewhere may be lost there and begin again: so often it is looked for, seconds.
AGAIN_S = 30.0
#: How long the end of a task waits for the thread that helps its children, seconds.
STOP_S = 0.1
#: How long a child that cannot be called in its parent's place may take to begin, seconds.
BEGIN_S = 600.0
_HERE = "it is called in the place of its parent"
_IN_VAIN = "its parent waits for it in vain"
#: What the errors of tasks say that were taken back, by their agent or by a worker. Whoever else cancels one says something else.
_TAKEN_BACK = (_HERE, _IN_VAIN, "canceled before it ended by itself")

_opening = threading.Lock()
_opened: Optional[Connection] = None


def _connection() -> Connection:
    """This interpreter's session with the pilot, which all tasks of it use."""
    global _opened
    with _opening:
        if _opened is None or _opened.retired or _opened.session.over:
            path = os.environ.get("SCALEMS_CONNECTION")
            if not path:
                raise RuntimeError(
                    "this worker has no connection file for clients (client.json beside its worker.json), so that its tasks "
                    "cannot submit others"
                )
            _opened = Connection(open_session(path, cancel_after=CANCEL_AFTER_S))
            _task._adopt(_opened._thread)
        return _opened


class _Common(Tuple["_native.Template", Optional[bytes]]):
    """What calls of a function have in common, and the function."""

    fn: Callable[..., Any]


class Children(Submitter):
    """What submits the children of a task. Made by :meth:`CurrentTask.submit` and :meth:`CurrentTask.options`.

    Children run in the Python and with the ``env`` of their parent unless their options say otherwise. They end with it: those that
    have not ended when it does are asked to.
    """

    def __init__(self, parent: "_task.CurrentTask") -> None:
        call = parent._call
        own = Options(python=call.get("python", ""), env=call.get("env") or None, labels={PARENT: parent.uid})
        self._of(parent, _connection(), own, own)
        #: Those that may not have ended; their session holds them until they have.
        self._all: "weakref.WeakSet[Child]" = weakref.WeakSet()
        self._lock = threading.Lock()
        self._helper = _Helper()

    def _of(self, parent: "_task.CurrentTask", connection: Connection, own: Options, options: Options) -> None:
        self._parent = parent
        self._own = own
        self._with(connection, options)
        self._may_be_called_here = _fits(parent, own, options)

    def options(self, **changes: Any) -> "Children":
        """The same with other options: those of :meth:`scalems_pilot.Executor.options`."""
        if changes.get("labels") is not None:
            changes["labels"] = {**changes["labels"], PARENT: self._parent.uid}
        options = self._options.replaced(**changes)
        options.template(FUNCTION)  # Wrong values are refused here.
        view = Children.__new__(Children)
        view._of(self._parent, self._connection, self._own, options)
        view._all, view._lock, view._helper = self._all, self._lock, self._helper
        return view

    def _future(self) -> "Child":
        return Child(self)

    def _template(self, fn: Callable[..., Any]) -> Common:
        common = _Common(super()._template(fn))
        common.fn = fn
        return common

    def _send(self, common: Common, data: bytes, future: Future) -> Future:
        if self._parent._over:
            raise RuntimeError(f"task {self._parent.uid} has ended: it submits nothing any more")
        assert isinstance(future, Child) and isinstance(common, _Common)
        future._fn, future._data = common.fn, data
        with self._lock:
            self._all.add(future)
        return super()._send(common, data, future)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Does nothing: the session is the interpreter's, and ends with it."""

    def _end(self, reason: str) -> None:
        """Asks all that have not ended to end. It does not wait for that."""
        self._helper.stop()
        with self._lock:
            children = list(self._all)
        left = [child for child in children if not child.done() and child._handle is not None]
        for child in left:
            child._unwanted = True
        if left:
            with contextlib.suppress(ScalemsError):
                self._connection.session.cancel_tasks_later([child._handle for child in left], "request", reason)

    def _too_large(self) -> Optional[str]:
        """Why a child can never begin while its parent waits for it, if that is so."""
        status = msgpack.unpackb(self._connection.session.status())
        there = {kind: total for kind, total, *_ in status["resources"]}
        ranks = self._options.ranks or 1
        for kind, own, wanted in (
            ("cores", self._parent._cores, 1 if self._options.cores is None else self._options.cores),
            ("gpus", len(self._parent.gpus), self._options.gpus or 0),
        ):
            if wanted and there.get(kind, 0) < own + ranks * wanted:
                return (
                    f"of {kind} it needs {ranks * wanted:g}, its parent has {own} and waits for it, and the pilot has "
                    f"{there.get(kind, 0)} in all"
                )
        return None


def _fits(parent: "_task.CurrentTask", own: Options, options: Options) -> bool:
    """Whether a child with these options may be called where its parent is: it wants nothing that is not there."""
    plain = dataclasses.replace(
        options, cores=None, gpus=None, ranks=None, name=None, labels=None, priority=None, python=own.python, env=own.env
    )
    return (
        plain == Options(python=own.python, env=own.env)
        and (options.python, options.env) == (own.python, own.env)
        and (options.cores or 1) <= parent._cores
        and (options.gpus or 0) <= len(parent.gpus)
        and (options.ranks or 1) == 1
    )


class Child(Future):
    """A task that another one submitted. A future as others, which is called in its parent's place where it would never begin."""

    def __init__(self, owner: Children) -> None:
        super().__init__()
        self._owner = owner
        self._fn: Callable[..., Any] = _nothing
        self._data = b""
        self._helping = threading.Lock()
        self._asked_back = self._came_back = self._unwanted = False
        #: How long it may take to begin while it is waited for, if it cannot be called in its parent's place, seconds.
        self.begin_within = BEGIN_S
        self._begin_by: Optional[float] = None
        self._make_condition()
        self._waiters = _Waiters(self)

    def result(self, timeout: Optional[float] = None) -> Any:
        """What it returned, as of other futures. The time does not count for a child that is called here."""
        left = self._help(timeout)
        return super().result(left)

    def exception(self, timeout: Optional[float] = None) -> Optional[BaseException]:
        """What it raised, as of other futures."""
        left = self._help(timeout)
        return super().exception(left)

    def cancel(self) -> bool:
        """Takes the task back if it has not begun. True only if it will not run."""
        self._unwanted = True
        taken = super().cancel()
        # One that runs goes on, and may have to begin again.
        self._unwanted = taken
        return taken

    def _ask_to_end(self, strength: str, reason: str) -> None:
        self._unwanted = True
        super()._ask_to_end(strength, reason)

    # How it comes to its end

    def _help(self, timeout: Optional[float]) -> Optional[float]:
        """Waits until it has ended, or the time is over, and calls it if it does not run. Returns what is left of the time."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self.done() and self._handle is not None:
            pause = AGAIN_S
            if self._helping.acquire(blocking=False):
                try:
                    if self._step():
                        break
                    pause = self._pause()
                finally:
                    self._helping.release()
            if until is not None:
                pause = min(pause, until - time.monotonic())
                if pause <= 0:
                    break
            with self._condition:
                # While a thread calls it, its end is what is waited for.
                if not self.done() and (not self._came_back or self._helping.locked()):
                    self._condition.wait(pause)
        return None if until is None else max(0.0, until - time.monotonic())

    def _step(self) -> bool:
        """What its parent can do for it now. True: nothing more is to be done."""
        if self.done():
            return True
        if self._owner._may_be_called_here:
            if not self._take_back(_HERE):
                return False
            self._call()
            return True
        return self._refuse_if_late()

    def _pause(self) -> float:
        if self._begin_by is None:
            return AGAIN_S
        return min(AGAIN_S, max(self._begin_by - time.monotonic(), LOOK_S))

    def _take_back(self, why: str) -> bool:
        """Takes the task back if it has not begun."""
        if self._came_back:
            return True
        if self._unwanted:
            return False
        self._asked_back = True
        session = self._owner._connection.session
        try:
            withdrawn, told, _running, _ended = session.cancel_tasks([self._handle], "withdraw", why)
            if withdrawn:
                self._came_back = True
            elif told:
                self._await_word(session)
        except ScalemsError:
            pass  # The session says how it goes on.
        return self._came_back

    def _await_word(self, session: Any) -> None:
        """A worker has it, and was asked: waits until it is back, or is known to run."""
        until = time.monotonic() + WORKER_S
        while not self.done() and not self._came_back and time.monotonic() < until:
            with self._condition:
                if not self._came_back:
                    self._condition.wait(LOOK_S)
            if not self._came_back and self._state_there(session) == "running":
                return

    def _state_there(self, session: Any) -> str:
        if self.task_id is None:
            return ""
        rows, _ = msgpack.unpackb(session.tasks(self.task_id, None), strict_map_key=False)
        return rows[0]["state"] if rows else ""

    def _refuse_if_late(self) -> bool:
        try:
            why = self._why_refused()
        except ScalemsError:
            return False  # The session says how it goes on.
        if why is None:
            return False
        task = self.task_id or "a child"
        if not self._take_back(_IN_VAIN):
            return False
        parent = self._owner._parent.uid
        self._settle_error(
            WouldDeadlock(
                f"task {task}, which its parent {parent} waits for, was taken back: {why}. Give the parent as much as its children "
                "need, or let it end before they begin",
                "would_deadlock",
            )
        )
        return True

    def _why_refused(self) -> Optional[str]:
        now = time.monotonic()
        if self._begin_by is None:
            self._begin_by = now + self.begin_within
            return self._owner._too_large()
        if now < self._begin_by:
            return None
        if self._state_there(self._owner._connection.session) == "running":
            # Should it be lost there, it has to begin again.
            self._begin_by = now + self.begin_within
            return None
        return f"it has not begun in {self.begin_within:g} s, and wants what its parent has not, so that it cannot be called there"

    def _call(self) -> None:
        """Calls it here."""
        if not self.set_running_or_notify_cancel():
            return
        parent = self._owner._parent
        found = self._id or self._handle.id
        submission, index = found if found else (parent.submission, parent.index)
        nested = parent._nested(submission, index)
        try:
            with _task._within(nested):
                args, kwargs = codec.decode_arguments(self._data)
                value = self._fn(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  it is the child's, whatever it is
            self._settle_error(error)
            return
        finally:
            nested._end()
        try:
            written = codec.encode(value)
        except BaseException as error:  # noqa: BLE001  whatever its class does when it is pickled
            self._settle_error(TaskFailed(f"the result cannot be sent: {error} [wrong_result]", "wrong_result"))
            return
        self._on_value(written)

    def _on_end(self, ending: str, value: Any, task: Any, attempt: int, error: Any) -> None:
        self._id = task
        back = self._came_back or error is None or any(text in error[2] for text in _TAKEN_BACK)
        if ending == "canceled" and self._asked_back and back and not self._unwanted:
            with self._condition:
                self._came_back = True
                self._condition.notify_all()
        else:
            super()._on_end(ending, value, task, attempt, error)
        self._owner._helper.look()

    def _on_value(self, value: Any) -> None:
        super()._on_value(value)
        self._owner._helper.look()


def _nothing() -> None:
    """What a child calls that was never sent."""


class _Waiters(list):
    """Who waits for a child by ``concurrent.futures.wait`` and ``as_completed``: they cannot call it, so a thread does."""

    def __init__(self, child: Child) -> None:
        super().__init__()
        self._child = weakref.ref(child)

    def append(self, waiter: Any) -> None:
        super().append(waiter)
        child = self._child()
        if child is not None:
            child._owner._helper.help(child)


class _Helper:
    """A thread that does for children what a parent does that waits for one of them, as long as others wait for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._more = threading.Event()
        self._children: Set[Child] = set()
        self._thread: Optional[threading.Thread] = None

    def help(self, child: Child) -> None:
        """Has it helped. Nothing here waits for a child: its condition is held."""
        with self._lock:
            self._children.add(child)
            self._more.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="scalems-children", daemon=True)
                self._thread.start()

    def look(self) -> None:
        """Something has changed."""
        self._more.set()

    def stop(self) -> None:
        """It helps nobody any more. If it calls a child just now, that goes on."""
        with self._lock:
            self._children.clear()
            thread = self._thread
        self._more.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_S)

    def _run(self) -> None:
        while True:
            self._more.clear()
            with self._lock:
                children = list(self._children)
            over = {child for child in children if child.done() or not child._waiters}
            with self._lock:
                self._children -= over
                if not self._children:
                    self._thread = None
                    return
            pause = AGAIN_S
            for child in children:
                if child not in over:
                    pause = min(pause, self._help(child))
            self._more.wait(pause)

    @staticmethod
    def _help(child: Child) -> float:
        if not child._helping.acquire(blocking=False):
            return AGAIN_S
        try:
            return 0.0 if child._step() else child._pause()
        finally:
            child._helping.release()
