"""scalems for Python: functions and programs on a pilot, which holds an allocation of a machine.

::

    from scalems_pilot import Executor

    with Executor() as ex:
        print(ex.submit(pow, 2, 10).result())
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import (
    ForkedSession,
    MissingPackage,
    PilotNotFound,
    Refused,
    RemoteError,
    RemoteTraceback,
    ScalemsError,
    SessionOver,
    TaskFailed,
    TimedOut,
    WouldDeadlock,
)

if TYPE_CHECKING:
    from ._modes import mode
    from ._progress import progress
    from ._task import CurrentTask, current_task
    from .children import Child
    from .events import Event
    from .executor import Executor
    from .future import Future
    from .pilot import Array, Pilot, connect, local
    from .program import ProgramResult

__all__ = [
    "Array",
    "Child",
    "CurrentTask",
    "Event",
    "Executor",
    "ForkedSession",
    "Future",
    "MissingPackage",
    "Pilot",
    "PilotNotFound",
    "ProgramResult",
    "Refused",
    "RemoteError",
    "RemoteTraceback",
    "ScalemsError",
    "SessionOver",
    "TaskFailed",
    "TimedOut",
    "WouldDeadlock",
    "connect",
    "current_task",
    "local",
    "mode",
    "progress",
]

# Found when they are asked for: an interpreter that runs functions imports this package too, and needs none of them.
_LAZY = {
    "Array": "pilot",
    "Child": "children",
    "CurrentTask": "_task",
    "Event": "events",
    "Executor": "executor",
    "Future": "future",
    "Pilot": "pilot",
    "ProgramResult": "program",
    "connect": "pilot",
    "current_task": "_task",
    "local": "pilot",
    "mode": "_modes",
    "progress": "_progress",
}


def __getattr__(name: str):  # type: ignore[no-untyped-def]
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    found = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = found
    return found
