"""Functions as the bodies of templates: written once for as long as nothing that they refer to can have changed."""

from __future__ import annotations

import operator
import os
import sys
import types
from typing import Any, Callable, Dict, List, Optional, Tuple

import msgpack

from . import codec
from ._options import Options

#: Bodies that are kept; functions beyond are written anew.
KEPT = 256
#: So deep it is looked what a function refers to.
DEPTH = 3
_CONSTANT = (type(None), bool, int, float, complex, str, bytes, types.ModuleType, types.BuiltinFunctionType)


def run_chunk(function: Callable[..., Any], *columns: List[Any]) -> List[Any]:
    """What the tasks of ``map`` do: call a function for several items at once."""
    return list(map(function, *columns))


def run_batch(batch: Callable[[], Any]) -> Any:
    """What the tasks of joblib do: call what has its calls in it."""
    return batch()


class Bodies:
    """What was made of functions that were submitted before, with one set of options."""

    def __init__(self, options: Options, make: Callable[[bytes], Any]) -> None:
        self._options = options
        self._make = make
        self._kept: Dict[int, Tuple[Any, Optional[List[Any]], Any]] = {}

    def of(self, function: Callable[..., Any]) -> Any:
        """What `make` makes of the body for calls of a function. Raises :class:`codec.CodecError` if that cannot be sent."""
        state = _state(function)
        # They are kept with their functions, so that no other one has the same id.
        kept = self._kept.get(id(function))
        if kept is not None and state is not None and kept[0] is function and _same(kept[1], state):
            return kept[2]
        made = self._make(_body(function, self._options))
        if state is not None:
            if len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[id(function)] = (function, state, made)
        return made


def _body(function: Callable[..., Any], options: Options) -> bytes:
    call = codec.function_call(function)
    name = options.name or getattr(function, "__qualname__", None) or type(function).__qualname__
    call["name"] = name
    python = sys.executable if options.python is None else options.python
    if python:
        call["python"] = python
    if options.env:
        call["env"] = dict(options.env)
    if options.cwd:
        call["cwd"] = str(options.cwd)
    if options.comm is not None:
        call["comm"] = options.comm
    path = module_path()
    if path:
        call["path"] = path
    return msgpack.packb(call)


def module_path() -> List[str]:
    """Directories of this process's modules that another interpreter of the same installation does not look through."""
    prefixes = tuple({os.path.join(prefix, "lib") for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)})
    found = (os.path.abspath(entry or os.curdir) for entry in sys.path)
    own = [entry for entry in found if not entry.startswith(prefixes) and os.path.isdir(entry)]
    return list(dict.fromkeys(own))


def _same(before: Optional[List[Any]], now: List[Any]) -> bool:
    return before is not None and len(before) == len(now) and all(map(operator.is_, before, now))


def _state(function: Any) -> Optional[List[Any]]:
    """All that a function refers to and that cannot change by itself; none if there is something else."""
    referred: List[Any] = []
    return referred if _refers(function, referred, 0) else None


def _refers(thing: Any, referred: List[Any], depth: int) -> bool:
    if codec.importable(thing) is not None:
        return True
    if not isinstance(thing, types.FunctionType) or depth > DEPTH or thing.__kwdefaults__ or thing.__dict__:
        return False
    code = thing.__code__
    referred.append(code)
    if any(isinstance(constant, types.CodeType) for constant in code.co_consts):
        # What a function within refers to is not looked for.
        return False
    names = thing.__globals__
    try:
        held = [cell.cell_contents for cell in thing.__closure__ or ()]
    except ValueError:
        return False
    held += thing.__defaults__ or ()
    held += [names[name] for name in code.co_names if name in names]
    for one in held:
        referred.append(one)
        if not isinstance(one, _CONSTANT) and one is not thing and not _refers(one, referred, depth + 1):
            return False
    return True
