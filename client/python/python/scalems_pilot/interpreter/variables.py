"""The variables that tell a task of itself: as programs have them, in ``os.environ`` and in what a function starts.

To set them costs microseconds, and most functions never look. So they are set when somebody does: when ``os.environ`` is used, or a
process is about to be started, which Python tells by its audit events.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Dict, Iterator, Optional, Tuple

#: Events of Python's that come before there is another process.
_STARTS = frozenset(
    ("subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn")
)


class Variables:
    """Those of the call that runs."""

    def __init__(self) -> None:
        self._call: Optional[Tuple[Any, ...]] = None
        self._told: Dict[str, str] = {}
        _Environ._set_all = self.set_all  # type: ignore[method-assign, assignment]
        # The same objects: whoever has them already has them so as well.
        for environ in (os.environ, os.environb):
            environ.__class__ = _Environ
        sys.addaudithook(self._audit)

    def tell(self, *call: Any) -> None:
        """A call begins: uid, submission, index, attempt, deadline, checkpoints, place."""
        self._call = call

    def set_all(self) -> None:
        """Sets what was not set yet."""
        call, self._call = self._call, None
        if call is None:
            return
        uid, submission, index, attempt, deadline, checkpoints, place = call
        self._set("SCALEMS_TASK", uid)
        self._set("SCALEMS_SUBMISSION", str(submission))
        self._set("SCALEMS_INDEX", str(index))
        self._set("SCALEMS_ATTEMPT", str(attempt))
        self._set("SCALEMS_CHECKPOINT_DIR", checkpoints)
        self._set("SCALEMS_DEADLINE", None if deadline is None else f"{deadline:.3f}")
        self._set("SCALEMS_CPUS", ",".join(map(str, place.get("cpus", ()))) if place.get("pinned") else None)

    def _set(self, name: str, value: Optional[str]) -> None:
        if self._told.get(name) == value:
            return
        if value is None:
            del self._told[name]
            os.environ.pop(name, None)
        else:
            self._told[name] = value
            os.environ[name] = value

    def _audit(self, event: str, _: Any) -> None:
        if event in _STARTS:
            self.set_all()


class _Environ(os._Environ):  # type: ignore[type-arg]
    """``os.environ`` that is told of the call first."""

    @staticmethod
    def _set_all() -> None:
        """There is no call yet."""

    def __getitem__(self, key: Any) -> Any:
        self._set_all()
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._set_all()
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        self._set_all()
        super().__delitem__(key)

    def __iter__(self) -> Iterator[Any]:
        self._set_all()
        return super().__iter__()

    def __len__(self) -> int:
        self._set_all()
        return super().__len__()
