"""Functions on a pilot, as :mod:`concurrent.futures` has it."""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import itertools
import time
import weakref
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import msgpack

from . import _html, _native, _progress, _resources, codec
from ._connection import Connection
from ._embedded import EmbeddedPilot
from ._functions import Bodies, run_chunk
from ._options import Options
from .errors import TaskFailed
from .future import Future

#: The session's tasks are canceled so long after its client is gone, seconds.
CANCEL_AFTER_S = 600.0
#: Chunks that ``map`` has submitted and not given the results of.
AHEAD = 4_096
#: Resource dictionaries whose options are kept.
VIEWS = 64
FUNCTION = "task.function"
#: What the calls of a function have in common: a template, and the function itself if that is not in there.
Common = Tuple["_native.Template", Optional[bytes]]


class Submitter(concurrent.futures.Executor):
    """What submits functions with the same options. Made by :meth:`Executor.options`; an :class:`Executor` is one."""

    _connection: Connection
    _options: Options
    _bodies: Bodies

    def _with(self, connection: Connection, options: Options) -> None:
        self._connection = connection
        self._options = options
        self._bodies = Bodies(options, self._common)
        self._views: Dict[str, Submitter] = {}

    def _common(self, body: bytes) -> Common:
        # A larger function goes with each of its calls.
        if len(body) <= _native.BODY_BYTES:
            return self._connection.template(self._options.template(FUNCTION, body)), None
        return self._connection.template(self._options.template(FUNCTION)), body

    def options(self, **changes: Any) -> "Submitter":
        """The same executor with other options: ``cores, gpus, ranks, memory, walltime, deadline, retries, priority, name,
        labels, resources, after, after_when, python, env, cwd, comm``.

        With ``ranks`` above 1, or ``comm``, so many processes call the function under MPI, ``cores``, ``gpus`` and ``memory`` are
        those of each, and the result is the list of what they return. ``comm=True`` passes the communicator as the first argument,
        ``comm="name"`` as the one of that name.
        """
        options = self._options.replaced(**changes)
        options.template(FUNCTION)  # Wrong values are refused here.
        view = Submitter()
        view._with(self._connection, options)
        return view

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:  # type: ignore[override]
        """Has a function called, and gives the future of what it returns.

        What cannot be sent (function, arguments) is the future's exception. ``resource_dict`` is not passed on: it says what
        the call needs, in executorlib's words.
        """
        if "resource_dict" in kwargs:
            return self._with_resources(fn, kwargs.pop("resource_dict")).submit(fn, *args, **kwargs)
        if self._connection.retired:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future = self._future()
        try:
            common = self._template(fn)
            data = codec.encode_arguments(args, kwargs)
        except codec.CodecError as error:
            future.set_exception(error)
            return future
        return self._send(common, data, future)

    def _future(self) -> Future:
        return Future()

    def _with_resources(self, fn: Callable[..., Any], resources: Mapping[str, Any]) -> "Submitter":
        if not _resources.is_free(fn):
            raise TypeError(
                "resource_dict says what a call needs, and is an argument of this function too: use options() for the one, or "
                "functools.partial for the other"
            )
        options = _resources.options_of(resources)
        key = repr(sorted(options.items()))
        view = self._views.get(key)
        if view is None:
            if len(self._views) >= VIEWS:
                self._views.clear()
            view = self._views[key] = self.options(**options)
        return view

    def _template(self, fn: Callable[..., Any]) -> Common:
        if not callable(fn):
            raise TypeError(f"{fn!r} cannot be called")
        return self._bodies.of(fn)

    def _send(self, common: Common, data: bytes, future: Future) -> Future:
        template, function = common
        if function is not None:
            data = msgpack.packb({**msgpack.unpackb(function), "args": data})
        if len(data) > _native.VALUE_BYTES:
            most = _native.VALUE_BYTES >> 20
            message = f"the arguments have {len(data)} bytes, at most {most} MiB can be sent: write a file, and send its name"
            future.set_exception(TaskFailed(message, "too_large"))
            return future
        after: Optional[List[Tuple[Any, str]]] = None
        if self._options.after is not None:
            after = self._after()
            if after is None:
                future.set_exception(
                    TaskFailed("a task that this one was to run after did not end well", "dependency_failed")
                )
                return future
        future._connection = self._connection
        future._handle = self._connection.submit(template, data, future, after, True)
        return future

    def _after(self) -> Optional[List[Tuple[Any, str]]]:
        """Handles of what has not ended; none if something ended in another way than it should."""
        when = self._options.after_when
        handles = []
        for one in self._options.dependencies():
            if isinstance(one, int):
                continue
            if not isinstance(one, Future):
                raise TypeError(f"a task runs after futures of this executor or numbers of submissions, not {one!r}")
            if one._handle is not None:
                handles.append((one._handle, when))
            elif when == "ok" and one.done() and (one.cancelled() or one.exception() is not None):
                return None
        return handles

    def mode(self, name: str) -> "RegisteredMode":
        """A mode that users have registered: what is called with data submits a task, and gives the future of its value."""
        return RegisteredMode(self._connection, self._options, name)

    def map(  # type: ignore[override]
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: Optional[float] = None,
        chunksize: int = 1,
        buffersize: Optional[int] = None,
        progress: Union[bool, str] = False,
    ) -> Iterator[Any]:
        """The results of a function for all items, in order. ``chunksize`` items are one task.

        The items are taken as they are needed: at most ``buffersize`` of them are under way. ``progress`` shows a bar in a
        terminal or notebook, ``"always"`` elsewhere too. With ranks each item is
        a task of its own, whose result is a list.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        if self._connection.retired:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if self._options.in_ranks:
            chunksize = 1
        until = None if timeout is None else time.monotonic() + timeout
        ahead = AHEAD if buffersize is None else max(1, buffersize // chunksize)
        futures = self._chunks(fn, iterables, chunksize)
        bar = None
        if progress:
            total = _progress.length(iterables)
            bar = _progress.Bar(total, show=True if progress == "always" else None)
            futures = _progress.watched(futures, bar, chunksize, total)
        # As map of other executors does: the first are under way when this returns.
        begun: Deque[Future] = collections.deque(itertools.islice(futures, ahead))
        results = _results(futures, begun, until, chunksize > 1)
        return results if bar is None else _progress.until_closed(results, bar)

    def _chunks(self, fn: Callable[..., Any], iterables: Tuple[Iterable[Any], ...], size: int) -> Iterator[Future]:
        broken: Optional[codec.CodecError] = None
        common: Any = None
        try:
            common = self._template(fn if size == 1 else functools.partial(run_chunk, fn))
        except codec.CodecError as error:
            broken = error
        rows = zip(*iterables)
        single = iter(iterables[0]) if len(iterables) == 1 else None
        while True:
            if size == 1:
                args: Any = next(rows, None)
                if args is None:
                    return
            elif single is not None:
                column = list(itertools.islice(single, size))
                if not column:
                    return
                args = [column]
            else:
                args = [list(column) for column in zip(*itertools.islice(rows, size))]
                if not args:
                    return
            future = self._future()
            try:
                if broken is not None:
                    raise broken
                data = codec.encode_arguments(args)
            except codec.CodecError as error:
                future.set_exception(error)
                yield future
                continue
            yield self._send(common, data, future)

    @property
    def _max_workers(self) -> Optional[int]:
        """How many tasks run at once, as the pools of :mod:`concurrent.futures` have it; dask asks for it."""
        return _resources.places(self._connection.session, self._options)

    def _repr_html_(self) -> str:
        session = self._connection.session
        said = session.pilot()
        over = session.over or ("it takes nothing more" if self._connection.retired else "")
        return _html.shown(
            "executor on pilot",
            said[0] if said else "",
            over or f"{len(self._connection.pending)} tasks have not ended",
            self._options.given().items(),
        )

    def wait_accepted(self, timeout: Optional[float] = None) -> None:
        """Waits until the pilot has taken everything that was submitted."""
        self._connection.session.wait_accepted(timeout)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes nothing more. ``cancel_futures`` takes back what has not begun."""
        connection = self._connection
        connection.retire()
        if cancel_futures:
            for future in list(connection.pending.values()):
                future.cancel()
        if wait:
            connection.wait_idle()
            connection.join()


class RegisteredMode:
    """What submits to a mode that users have registered. Made by :meth:`Executor.mode` and :meth:`Pilot.mode`."""

    def __init__(self, connection: Connection, options: Options, name: str) -> None:
        for word in ("python", "env", "cwd", "comm"):
            if getattr(options, word):
                raise ValueError(f"{word} is not for mode {name}: who has registered it has said where it runs")
        self.name = name
        self._submitter = Submitter()
        self._submitter._with(connection, options)
        self._template = connection.template(options.template(name))

    def __call__(self, data: Any = None) -> Future:
        """Submits one task. Data that cannot be sent are the future's exception."""
        future = Future()
        try:
            written = codec.encode(data)
        except codec.CodecError as error:
            future.set_exception(error)
            return future
        return self._submitter._send((self._template, None), written, future)


class Executor(Submitter):
    """An executor of functions on a pilot.

    Without a name it starts a pilot of its own on this machine, which ends with it. ``pilot`` is the name of one that runs,
    or the path of its connection file. A pilot of its own offers the modes that ``mode_modules`` register.
    """

    def __init__(
        self,
        pilot: Optional[str] = None,
        *,
        max_workers: Optional[int] = None,
        mode_modules: Sequence[str] = (),
        session: str = "",
        cancel_after: Optional[float] = CANCEL_AFTER_S,
        connect_timeout: Optional[float] = None,
        **options: Any,
    ) -> None:
        if isinstance(pilot, int):
            raise TypeError(f"a pilot has a name, and {pilot} is none: for so many cores say max_workers={pilot}")
        if pilot is not None and mode_modules:
            raise ValueError("mode_modules are for a pilot of one's own: one that runs was started with --mode-module")
        chosen = Options().replaced(**options)
        chosen.template(FUNCTION)
        embedded = EmbeddedPilot(max_workers, functions=True, mode_modules=mode_modules) if pilot is None else None
        try:
            native = open_session(
                embedded.connection if embedded else pilot,
                session=session,
                cancel_after=cancel_after,
                connect_timeout=connect_timeout,
            )
        except BaseException:
            if embedded is not None:
                embedded.stop()
            raise
        self._embedded = embedded
        self._with(Connection(native, embedded.stop if embedded else None), chosen)
        # One that is forgotten lets end what it has begun, then closes.
        weakref.finalize(self, self._connection.retire).atexit = False

    @property
    def pilot(self) -> str:
        """The name of its pilot."""
        said = self._connection.session.pilot()
        return said[0] if said else ""

    def __exit__(self, kind: Any, value: Any, trace: Any) -> bool:
        # After Ctrl-C nobody waits for what still runs.
        if kind is not None and not issubclass(kind, Exception):
            for future in list(self._connection.pending.values()):
                future.request_cancel("interrupted")
            self.shutdown(wait=True, cancel_futures=True)
        else:
            self.shutdown(wait=True)
        return False


def open_session(pilot: Optional[str], **how: Any) -> "_native.Session":
    """A native session: with the pilot of a name, of a connection file, or the only one."""
    is_path = pilot is not None and ("/" in pilot or pilot.endswith(".json"))
    return _native.Session.connect(path=pilot if is_path else None, pilot=None if is_path else pilot, **how)


def _results(futures: Iterator[Future], begun: Deque[Future], until: Optional[float], chunked: bool) -> Iterator[Any]:
    try:
        while begun:
            left = None if until is None else until - time.monotonic()
            # Popped before it is waited for: so that nothing here refers to it when it raises.
            result = begun.popleft().result(left) if left is None else _within(begun, left)
            begun.extend(itertools.islice(futures, 1))
            if chunked:
                yield from result
            else:
                yield result
            del result
    finally:
        for future in begun:
            future.cancel()


def _within(begun: Deque[Future], left: float) -> Any:
    result = begun[0].result(max(left, 0))
    begun.popleft()
    return result
