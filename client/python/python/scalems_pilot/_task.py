"""The task that runs in this interpreter, for the function that it calls."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import time
from typing import Any, Callable, Optional, Tuple

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

    def cancel_requested(self) -> bool:
        """Whether the task is asked to end: soon it will be made to."""
        if not self._cancel and self._asked is not None:
            self._cancel = os.path.exists(self._asked)
        return self._cancel

    def remaining(self) -> Optional[float]:
        """Seconds until the time limit passes; none: there is none."""
        return None if self.deadline is None else self.deadline - time.time()

    def progress(self, fraction: float, text: str = "") -> None:
        """Says how far it is, from 0 to 1. More than ten a second are left out."""
        fraction = float(fraction)
        if not 0 <= fraction <= 1:
            raise ValueError(f"progress is a number from 0 to 1, not {fraction}")
        now = time.monotonic()
        if fraction < 1 and now - self._said_at < PROGRESS_EVERY:
            return
        self._said_at = now
        self._say(fraction, str(text)[:1000])


_current: Any = None


def current_task() -> CurrentTask:
    """The task that runs in this interpreter. Raises :class:`RuntimeError` where none does."""
    if _current is None:
        raise RuntimeError("no task runs here: current_task() is for functions that a pilot calls")
    return _current


def _set(task: Optional[CurrentTask]) -> None:
    global _current
    _current = task
