"""Modes that users register: functions that workers call by a name (page 10 of the specification, section "Registered modes")."""

from __future__ import annotations

import importlib
import os
import re
import types
from typing import Any, Callable, Dict, Iterable, List, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

#: The group of entry points.
GROUP = "scalems.modes"
#: The variables by which a worker says who registers modes.
MODULES, INSTALLED = "SCALEMS_MODE_MODULES", "SCALEMS_INSTALLED_MODES"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,256}")

_registered: Dict[str, Callable[..., Any]] = {}


def mode(name: str) -> Callable[[F], F]:
    """Registers a function as the mode ``name``. Tasks of that mode have it called with their data, and get what it returns.

    ::

        @scalems_pilot.mode("lab.fold")
        def fold(data):
            return {"energy": -sum(data["charges"])}

    Workers that are started with ``--mode-module`` and the module in which that stands offer the mode. A name has letters,
    digits, ``_``, ``-`` and ``.``, and does not begin with ``task.`` or ``scalems.``. Raises :class:`ValueError` for
    another one, and for one that another function has.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith(("task.", "scalems.")):
        raise ValueError(
            f"{name!r} is no name for a mode: it has letters, digits, '_', '-' and '.', at most 256, and does not begin with "
            "task. or scalems."
        )

    def register(function: F) -> F:
        if not callable(function):
            raise TypeError(f"mode {name} is a function, not {function!r}")
        before = _registered.get(name)
        if before is not None and _place(before) != _place(function):
            raise ValueError(f"mode {name} is registered twice: as {_place(before)} and as {_place(function)}")
        _registered[name] = function
        return function

    return register


def _place(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', '?')}:{name}"


def load(modules: Iterable[str], installed: bool) -> Dict[str, Callable[..., Any]]:
    """All modes that modules and, if asked for, entry points register. Raises whatever they raise."""
    for module in modules:
        importlib.import_module(module)
    if installed:
        for entry in _entry_points():
            found = entry.load()
            # A module has registered what it has by being imported.
            if not isinstance(found, types.ModuleType):
                mode(entry.name)(found)
    return _registered


def _entry_points() -> List[Any]:
    from importlib import metadata

    found: Any = metadata.entry_points()
    # Before Python 3.10 they came as a dictionary.
    chosen = found.select(group=GROUP) if hasattr(found, "select") else found.get(GROUP, ())
    # A package that is found by two ways has them twice.
    unique = {(entry.name, entry.value): entry for entry in chosen}
    return [unique[key] for key in sorted(unique)]


class Registry:
    """What a worker has told its interpreter; it is read when the first such task comes."""

    def __init__(self) -> None:
        self._modules = os.environ.pop(MODULES, "").split()
        self._installed = bool(os.environ.pop(INSTALLED, ""))
        self._loaded = False

    def load(self) -> Dict[str, Callable[..., Any]]:
        """All modes. Raises whatever a module raises that is imported."""
        if not self._loaded:
            load(self._modules, self._installed)
            self._loaded = True
        return _registered

    def say(self) -> None:
        """Writes the modes' names to the standard output, one a line; what modules print goes to the other one."""
        own = os.dup(1)
        os.dup2(2, 1)
        names = sorted(self.load())
        with os.fdopen(own, "w") as out:
            out.writelines(f"{name}\n" for name in names)
