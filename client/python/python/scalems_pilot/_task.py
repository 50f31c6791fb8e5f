"""The task that runs in this interpreter, for the function that it calls."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, Optional, Tuple, Union

if TYPE_CHECKING:
    from .children import Child, Children

__all__ = ["CurrentTask", "current_task"]

#: Between two words about progress, seconds.
PROGRESS_EVERY = 0.1


@dataclasses.dataclass
class CurrentTask:
    """One attempt at a task, as the function that it calls sees it."""

    submission: int
    #: Its number in the submission.
    index: int
    #: From 1.
    attempt: int
    #: CPUs that are its own, by number; empty: it is not pinned.
    cpus: Tuple[int, ...]
    #: GPUs that are its own, by number on the worker.
    gpus: Tuple[int, ...]
    #: When its time limit passes, seconds since 1970; none: it has none.
    deadline: Optional[float]
    _directory: str
    _say: Callable[[float, str], None] = dataclasses.field(repr=False)
    _cancel: bool = False
    _said_at: float = -1.0
    _checkpoints: str = ""
    _cores: int = 1
    _call: Dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    _children: "Optional[Children]" = dataclasses.field(default=None, repr=False)
    _outer: "Optional[CurrentTask]" = dataclasses.field(default=None, repr=False)
    _over: bool = False
    #: Which of its ranks this is, and how many there are.
    rank: int = 0
    ranks: int = 1
    #: A file that is there once its ranks are asked to end.
    _asked: Optional[str] = dataclasses.field(default=None, repr=False)

    @property
    def uid(self) -> str:
        """The task as people name it, such as ``5.7``."""
        return f"{self.submission}.{self.index}"

    @property
    def directory(self) -> pathlib.Path:
        """A directory of this attempt's own, made when it is first asked for."""
        os.makedirs(self._directory, exist_ok=True)
        return pathlib.Path(self._directory)

    # Checkpoints

    @property
    def checkpoint_dir(self) -> pathlib.Path:
        """A directory that all attempts at the task share, made when it is first asked for. What one has published there with
        :meth:`publish` the next one finds, if it runs where that directory is. Nothing else is to be written there."""
        return self._checkpointing().open()

    def publish(self, path: "Union[str, os.PathLike[str]]", name: str = "") -> pathlib.Path:
        """Moves a file or a directory into :attr:`checkpoint_dir`, as ``name`` or under the name that it has, in the place of what is
        called so there. Whoever looks finds the old one or the new one, whole. An attempt that a newer one has followed is refused."""
        return self._checkpointing().publish(path, name)

    @contextlib.contextmanager
    def publishing(self, name: str) -> Iterator[pathlib.Path]:
        """``with task.publishing("state.npz") as path:`` gives a path to write to; what is there in the end is published."""
        path = self.directory / name
        yield path
        self.publish(path, name)

    def _checkpointing(self) -> Any:
        from .checkpoints import Checkpoints

        life, number = os.path.basename(self._directory).split(".")
        return Checkpoints(self._checkpoints, (int(life), int(number)))

    # What others want of it

    def cancel_requested(self) -> bool:
        """Whether the task is asked to end: soon it will be made to."""
        if not self._cancel and self._asked is not None:
            self._cancel = os.path.exists(self._asked)
        return self._cancel or (self._outer is not None and self._outer.cancel_requested())

    def remaining(self) -> Optional[float]:
        """Seconds until the time limit passes; none: there is none."""
        return None if self.deadline is None else self.deadline - time.time()

    def progress(self, fraction: float, text: str = "") -> None:
        """Says how far it is, from 0 to 1, and what it is at: ``scalems task info`` shows it, and who listens to the submission's events
        is told. More than ten a second are left out."""
        fraction = float(fraction)
        if not 0 <= fraction <= 1:
            raise ValueError(f"progress is a number from 0 to 1, not {fraction}")
        now = time.monotonic()
        if fraction < 1 and now - self._said_at < PROGRESS_EVERY:
            return
        self._said_at = now
        self._say(fraction, str(text)[:1000])

    # Children

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Child":
        """Has a function called as another task of the same pilot, and gives its future. It ends with this one."""
        child: Child = self._family().submit(fn, *args, **kwargs)  # type: ignore[assignment]
        return child

    def options(self, **changes: Any) -> "Children":
        """What submits children with other options: those of :meth:`scalems_pilot.Executor.options`."""
        return self._family().options(**changes)

    def _family(self) -> "Children":
        if self._children is None:
            if self._over:
                raise RuntimeError(f"task {self.uid} has ended: it submits nothing any more")
            try:
                from .children import Children
            except ImportError as error:
                raise RuntimeError(
                    f"tasks are submitted by the whole package, of which a part is missing here ({error}): install scalems-pilot in "
                    "this Python"
                ) from error
            self._children = Children(self)
        return self._children

    def _nested(self, submission: int, index: int) -> "CurrentTask":
        """A child that is called in this one's place."""
        root, life = os.path.dirname(os.path.dirname(self._directory)), os.path.basename(self._directory).split(".")[0]
        return dataclasses.replace(
            self,
            submission=submission,
            index=index,
            attempt=1,
            _directory=f"{root}/{submission}.{index}/{life}.1",
            _checkpoints=f"{os.path.dirname(self._checkpoints)}/{submission}.{index}",
            _say=lambda fraction, text: None,
            _cancel=False,
            _children=None,
            _outer=self,
        )

    def _asked_to_end(self) -> None:
        self._cancel = True
        if self._children is not None:
            self._children._end(f"its parent, task {self.uid}, is asked to end")

    def _end(self) -> None:
        self._over = True
        if self._children is not None:
            self._children._end(f"its parent, task {self.uid}, has ended")


_current: Optional[CurrentTask] = None
#: What a thread of this interpreter calls in the place of that.
_here = threading.local()
#: A thread of ours is not one that a task has left.
_adopt: Callable[[threading.Thread], None] = lambda thread: None


def current_task() -> CurrentTask:
    """The task that runs in this interpreter. Raises :class:`RuntimeError` where none does."""
    found = getattr(_here, "task", None) or _current
    if found is None:
        raise RuntimeError("no task runs here: current_task() is for functions that a pilot calls")
    return found


def _set(task: Optional[CurrentTask]) -> None:
    global _current
    _current = task
    # Whatever the one before has left there.
    _here.task = None


@contextlib.contextmanager
def _within(task: CurrentTask) -> Iterator[None]:
    """In this thread it is the current one."""
    before = getattr(_here, "task", None)
    _here.task = task
    try:
        yield
    finally:
        _here.task = before
