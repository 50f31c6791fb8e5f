"""A session with a pilot, and the thread that takes what has ended."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Callable, Dict, List, Optional, Tuple

import msgpack

from . import _native
from .errors import Refused, ScalemsError, SessionOver

#: How long the thread waits before it looks whether it is still wanted, seconds.
LOOK_S = 0.5

_open: "weakref.WeakSet[Connection]" = weakref.WeakSet()


class Connection:
    """A session, the thread that takes its ended tasks, and what is to be closed with it."""

    def __init__(self, session: "_native.Session", closing: Optional[Callable[[], None]] = None) -> None:
        self.session = session
        self._closing = closing
        self._idle = threading.Condition()
        self._submitted = 0
        self._ended = 0
        self._retired = False
        self._templates: Dict[bytes, "_native.Template"] = {}
        #: Tasks that have not ended, for those who want to cancel them all.
        self.pending: Dict[int, Any] = {}
        self._thread = threading.Thread(target=self._take, name="scalems-results", daemon=True)
        self._thread.start()
        _open.add(self)

    def template(self, fields: Dict[str, Any]) -> "_native.Template":
        """The native form of a template. Equal ones are the same, so that their tasks travel together."""
        packed = msgpack.packb(fields)
        template = self._templates.get(packed)
        if template is None:
            if len(self._templates) >= 1_024:
                self._templates.clear()
            template = self._templates[packed] = self.session.template(packed)
        return template

    def submit(
        self,
        template: "_native.Template",
        data: bytes,
        token: Any,
        after: Optional[List[Tuple["_native.Handle", str]]] = None,
        plain: bool = False,
    ) -> "_native.Handle":
        """Submits; ``token._on_end`` is called with how it ended, or if it is ``plain`` and done at the first attempt,
        ``token._on_value``. Waits while too much waits in this process."""
        if self._retired:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self.pending[id(token)] = token
        try:
            while True:
                try:
                    handle = self.session.submit(template, data, token, after, plain)
                    break
                except Refused as error:
                    if error.code != "backlog_full":
                        raise
                    self.session.wait_room()
        except BaseException:
            self.pending.pop(id(token), None)
            raise
        return handle

    def take_end(self, handle: "_native.Handle", token: Any, timeout: Optional[float]) -> None:
        """Waits for the end of a task in this thread; if it is not taken by another one, ``token._on_end`` is called."""
        ended = self.session.wait_task(handle, token, timeout)
        if ended is not None:
            token, *how = ended
            self._deliver(token, token._on_end, *how)
            if not self.pending:
                self._all_ended()

    def _take(self) -> None:
        try:
            while True:
                ended = self.session.take(LOOK_S)
                if ended is None:
                    break
                plain, others = ended
                turns = iter(plain)
                for token, value in zip(turns, turns):
                    self._deliver(token, token._on_value, value)
                for token, *how in others:
                    self._deliver(token, token._on_end, *how)
                if not self.pending:
                    self._all_ended()
                if self._retired and not self.pending:
                    break
        finally:
            self._close()

    def _deliver(self, token: Any, call: Callable[..., None], *how: Any) -> None:
        self.pending.pop(id(token), None)
        try:
            call(*how)
        except Exception as error:  # noqa: BLE001  one task's end must not keep the others'
            token._on_fault(error)

    def _all_ended(self) -> None:
        with self._idle:
            self._idle.notify_all()
        if self._retired:
            self.session.close_completions()

    def wait_durable(self, timeout: Optional[float]) -> None:
        """Waits until the results that have come are on the pilot's disk."""
        said = self.session.pilot()
        if said is not None and not said[1]:
            raise Refused(f"pilot {said[0]} keeps no journal: nothing of it is on disk", "no_journal")
        self.session.wait_durable(timeout)

    def wait_idle(self, timeout: Optional[float] = None) -> bool:
        """Waits until all that was submitted has ended."""
        with self._idle:
            return self._idle.wait_for(lambda: not self.pending or not self._thread.is_alive(), timeout)

    def retire(self) -> None:
        """Takes nothing more; closes once all has ended."""
        self._retired = True
        # In this order: the thread takes a task out before it looks whether more is to come.
        if not self.pending:
            self.session.close_completions()

    def close(self) -> None:
        """Closes at once: what has not ended ends with an error."""
        self._retired = True
        if self._thread is threading.current_thread():
            self.session.close()
            return
        try:
            self.session.close()
        finally:
            self._thread.join()

    def join(self) -> None:
        """Waits until it is closed."""
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _close(self) -> None:
        self._retired = True
        try:
            self.session.close()
            for token in list(self.pending.values()):
                token._on_fault(SessionOver(f"the session is over: {self.session.over or 'it was closed'}"))
            self.pending.clear()
        except ScalemsError:
            pass  # in a process that was forked from the session's
        finally:
            closing, self._closing = self._closing, None
            if closing is not None:
                closing()
            with self._idle:
                self._idle.notify_all()

    @property
    def retired(self) -> bool:
        """Whether it takes nothing more."""
        return self._retired


def _at_exit() -> None:
    for connection in list(_open):
        connection.retire()
        connection.wait_idle()
        connection.join()


# As executors of concurrent.futures: before the interpreter ends its threads.
getattr(threading, "_register_atexit", lambda call: None)(_at_exit)
