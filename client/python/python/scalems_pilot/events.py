"""What happens in a pilot, as it happens."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any, Callable, Dict, Iterator, Optional

import msgpack

from . import _native
from .errors import ScalemsError, TimedOut


@dataclasses.dataclass(frozen=True)
class Event:
    """One thing that happened, or with ``snapshot`` the state from which on things happen (page 4 of the specification)."""

    kind: str
    body: Dict[str, Any]
    snapshot: bool


class Events:
    """What happens in one topic: ``summary``, ``workers``, ``alarms``, ``submission/N``. First its state, then each change.

    As an iterator it waits as long as the session lives.
    """

    def __init__(self, session: "_native.Session", topic: str) -> None:
        self.topic = topic
        self._events = session.events(topic)

    def next_within(self, timeout: Optional[float]) -> Optional[Event]:
        """The next one; none if nothing comes any more. Raises :class:`TimedOut`."""
        found = self._events.next(timeout)
        if found is None:
            return None
        kind, packed = found
        body = msgpack.unpackb(packed, strict_map_key=False)
        name, fields = next(iter(body.items())) if isinstance(body, dict) and body else (str(body), {})
        return Event(name, fields, kind == "snapshot")

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = self.next_within(None)
        if event is None:
            raise StopIteration
        return event


class Listening:
    """A callback that is called with each event, by a thread of its own, until it is stopped."""

    #: How soon a stop is seen, seconds.
    LOOK_S = 0.2

    def __init__(self, events: Events, callback: Callable[[Event], None]) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(events, callback), name=f"scalems-{events.topic}", daemon=True
        )
        self._thread.start()

    def _run(self, events: Events, callback: Callable[[Event], None]) -> None:
        while not self._stopped.is_set():
            try:
                event = events.next_within(self.LOOK_S)
            except TimedOut:
                continue
            except ScalemsError:
                return
            if event is None:
                return
            callback(event)

    def stop(self) -> None:
        """It is called no more once this returns."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> "Listening":
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()
