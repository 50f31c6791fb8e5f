"""Pilots: programs, arrays, control."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import msgpack

from . import _html, _native, _progress
from ._connection import Connection
from ._embedded import EmbeddedPilot, Path
from ._options import Options
from .errors import ScalemsError, TaskFailed
from .events import Event, Events, Listening
from .executor import CANCEL_AFTER_S, RegisteredMode, open_session
from .program import ProgramFuture, ProgramResult, program, result_of

Argv = Union[str, Sequence[str]]


def connect(
    pilot: Optional[str] = None,
    *,
    session: str = "",
    takeover: bool = False,
    cancel_after: Optional[float] = CANCEL_AFTER_S,
    connect_timeout: Optional[float] = None,
) -> "Pilot":
    """Connects to a pilot: by its name, by its connection file, or to the only one that runs."""
    native = open_session(
        pilot, session=session, takeover=takeover, cancel_after=cancel_after, connect_timeout=connect_timeout
    )
    return Pilot(Connection(native))


def local(
    cores: Optional[int] = None,
    gpus: Optional[int] = None,
    *,
    mode_modules: Sequence[str] = (),
    filters: Sequence[Path] = (),
) -> "Pilot":
    """Starts a pilot of this process's own on this machine; it ends when it is closed, or with the process. It offers the
    modes that ``mode_modules`` register, and has tasks pass the filters that the files in ``filters`` say."""
    embedded = EmbeddedPilot(cores, gpus, mode_modules=mode_modules, filters=filters)
    try:
        native = open_session(embedded.connection)
    except BaseException:
        embedded.stop()
        raise
    return Pilot(Connection(native, embedded.stop))


class Pilot:
    """A session with a pilot. As a context manager it leaves nothing running that it submitted."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._session = connection.session

    # Programs

    def submit(
        self,
        argv: Argv,
        *,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[str] = None,
        stdin: Union[None, bytes, str] = None,
        stdout: Optional[str] = None,
        stderr: Optional[str] = None,
        **options: Any,
    ) -> ProgramFuture:
        """Submits a program: words, or a command line for a shell. Options are those of :meth:`Executor.options`."""
        mode, data = program(argv, env, cwd, stdin, stdout, stderr)
        chosen = Options().replaced(**options)
        future = ProgramFuture()
        after: List[Tuple[Any, str]] = []
        for one in chosen.dependencies():
            if isinstance(one, int):
                continue
            if one._handle is None:
                raise TypeError(f"a program runs after futures of its session, or numbers of submissions, not {one!r}")
            after.append((one._handle, chosen.after_when))
        template = self._connection.template(chosen.template(mode))
        future._connection = self._connection
        future._handle = self._connection.submit(template, data, future, after or None)
        return future

    def mode(self, name: str, **options: Any) -> RegisteredMode:
        """A mode that users have registered: what is called with data submits a task, and gives the future of its value."""
        return RegisteredMode(self._connection, Options().replaced(**options), name)

    def run(self, argv: Argv, *, timeout: Optional[float] = None, check: bool = False, **how: Any) -> ProgramResult:
        """Runs a program and gives how it ended. With ``check`` an end that is not well is raised."""
        future = self.submit(argv, **how)
        try:
            result = future.result(timeout)
        except BaseException:
            # Whoever does not wait for it any more does not want it.
            future.request_cancel("nobody waits for it")
            raise
        if check and not result.ok:
            raise TaskFailed(f"task {result.task_id} did not end well: {result.message} [{result.code}]", result.code)
        return result

    def array(
        self,
        argv: Argv,
        indices: Union[int, range],
        *,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[str] = None,
        **options: Any,
    ) -> "Array":
        """Submits a program once for each index, which it finds in ``SCALEMS_INDEX``."""
        of = range(indices) if isinstance(indices, int) else indices
        if len(of) == 0 or of.step < 1:
            raise ValueError(f"an array has at least one index, and they rise: {of!r}")
        mode, data = program(argv, env, cwd)
        template = self._connection.template(Options().replaced(**options).template(mode))
        handle = self._session.submit_array(template, data, of.start, of.step, len(of))
        return Array(self._session, handle, of)

    # Control

    def cancel(self, select: str, strength: str = "request", reason: str = "") -> Dict[str, int]:
        """Asks that selected tasks end (``5``, ``5.0-9``, ``name:dock*``, ``all``); says what was done with how many."""
        done = self._session.cancel(select, strength, reason)
        return dict(zip(("withdrawn", "told", "running", "ended"), done))

    def status(self) -> Dict[str, Any]:
        """The pilot as a whole: tasks by state, workers, resources."""
        return msgpack.unpackb(self._session.status())

    def workers(self) -> List[Dict[str, Any]]:
        """All workers that live."""
        return msgpack.unpackb(self._session.workers())

    def submissions(self, select: str = "all") -> Iterator[Dict[str, Any]]:
        """A row for each selected submission."""
        return self._pages(self._session.submissions, select)

    def tasks(self, select: str) -> Iterator[Dict[str, Any]]:
        """A row for each run of selected tasks in one state."""
        return self._pages(self._session.tasks, select)

    def explain(self, task_id: str) -> Dict[str, Any]:
        """All that is known of a task, and why it waits."""
        submission, _, index = task_id.partition(".")
        return msgpack.unpackb(self._session.explain(int(submission), int(index or 0)), strict_map_key=False)

    @staticmethod
    def _pages(ask: Callable[..., bytes], select: str) -> Iterator[Dict[str, Any]]:
        after = None
        while True:
            rows, after = msgpack.unpackb(ask(select, after), strict_map_key=False)
            yield from rows
            if after is None:
                return
            after = tuple(after)

    def events(self, topic: str = "summary") -> Events:
        """What happens in a topic from now on: ``summary``, ``workers``, ``alarms``, ``submission/N``."""
        return Events(self._session, topic)

    def on_event(self, topic: str, callback: Callable[[Event], None]) -> Listening:
        """Calls back with each event, from a thread of its own, until what this returns is stopped."""
        return Listening(self.events(topic), callback)

    def wait_accepted(self, timeout: Optional[float] = None) -> None:
        """Waits until the pilot has taken everything that was submitted."""
        self._session.wait_accepted(timeout)

    # Its life

    @property
    def name(self) -> str:
        """Its name."""
        said = self._session.pilot()
        return said[0] if said else ""

    @property
    def connection_file(self) -> str:
        """The connection file that it was connected by, also for an :class:`Executor`."""
        return self._session.connection_file or ""

    @property
    def over(self) -> Optional[str]:
        """Why the session is over, if it is."""
        return self._session.over

    def stop(self, drain: float = 0.0) -> None:
        """Ends the pilot, after letting end what runs for so many seconds."""
        self._session.stop(drain)

    def close(self) -> None:
        """Leaves the pilot. Tasks of a session without a name are canceled."""
        self._connection.close()

    def __enter__(self) -> "Pilot":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _repr_html_(self) -> str:
        try:
            status = None if self.over else self.status()
        except ScalemsError as error:
            return _html.shown("pilot", self.name, str(error))
        if status is None:
            return _html.shown("pilot", self.name, self.over or "")
        rows = [(state, number) for state, number in status["tasks"].items() if number]
        rows += [(kind, f"{used} of {total} in use") for kind, total, used in status["resources"]]
        return _html.shown("pilot", self.name, f"{status['workers'][0]} workers", rows)


class Array:
    """An array that was submitted."""

    def __init__(self, session: "_native.Session", handle: "_native.ArrayHandle", indices: range) -> None:
        self._session = session
        self._handle = handle
        self.indices = indices

    @property
    def submission(self) -> Optional[int]:
        """The number of the submission, once the pilot has given it one."""
        return self._handle.submission

    def counts(self) -> Dict[str, int]:
        """How many of its tasks ended how, until now."""
        return dict(zip(("done", "failed", "canceled", "without_result", "unfinished"), self._handle.counts()))

    def wait(self, timeout: Optional[float] = None, *, progress: Union[bool, str] = False) -> Dict[str, int]:
        """Waits until all have ended, and counts them. Raises :class:`TimedOut`. ``progress`` is that of ``Executor.map``."""
        if progress:
            show = True if progress == "always" else None
            _progress.watch_array(self, lambda slice: self._session.wait_array(self._handle, slice), timeout, show)
        else:
            self._session.wait_array(self._handle, timeout)
        return self.counts()

    def result(self, index: int) -> Optional[ProgramResult]:
        """How the task with this index ended, if it has."""
        if index not in self.indices:
            raise IndexError(f"the array has no index {index}: {self.indices!r}")
        found = self._handle.result(index)
        if found is None:
            return None
        _token, ending, value, _task, attempt, error = found
        task = None if self.submission is None else (self.submission, index)
        return result_of(ending, value, task, attempt, error)

    def __len__(self) -> int:
        return len(self.indices)

    def _repr_html_(self) -> str:
        number = "(not accepted yet)" if self.submission is None else str(self.submission)
        return _html.shown("array", number, f"{len(self)} tasks", self.counts().items())
