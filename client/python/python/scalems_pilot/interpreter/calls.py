"""What a call is made of: the function, found once for many tasks, and its arguments."""

from __future__ import annotations

import pickle
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import msgpack

from .. import _modes, codec

Arguments = Tuple[List[Any], Dict[str, Any]]


class WrongCall(Exception):
    """The function, or its arguments, cannot be read here."""


class Function:
    """What a task's call names, ready to be called."""

    __slots__ = ("call", "cwd", "written")

    def __init__(self, mode: str, call: Dict[str, Any]) -> None:
        self.cwd: Optional[str] = call.get("cwd")
        #: What was said of where it runs.
        self.written = {name: call[name] for name in ("python", "env") if name in call}
        self.call = _callable(mode, call)

    def arguments(self, data: bytes) -> Arguments:
        """The arguments of a task whose function is in a body."""
        return read_arguments(data)


class Registered:
    """What a mode that a user has registered calls, ready to be called."""

    __slots__ = ("call",)
    cwd = None
    #: Who registered it has said where it runs.
    written: Dict[str, Any] = {}

    def __init__(self, mode: str, registry: _modes.Registry) -> None:
        try:
            found = registry.load().get(mode)
        except BaseException as error:
            raise WrongCall(f"the modules of modes cannot be read here: {type(error).__name__}: {error}") from error
        if found is None:
            raise WrongCall(f"mode {mode} is not registered here any more: its module has changed since the worker began")
        self.call: Callable[..., Any] = found

    def arguments(self, data: bytes) -> Arguments:
        """The task's data is the only argument."""
        try:
            return [codec.decode(data)], {}
        except Exception as error:
            raise WrongCall(f"the data cannot be read here: {type(error).__name__}: {error}") from error


Called = Union[Function, Registered]


def read_call(data: bytes) -> Dict[str, Any]:
    """The map that a call is."""
    try:
        call = msgpack.unpackb(data, ext_hook=codec._extended, strict_map_key=False)
    except Exception as error:
        raise WrongCall(f"the call cannot be read: {error}") from error
    if not isinstance(call, dict):
        raise WrongCall("a call is a map with function, pickle or code")
    return call


def arguments_of(call: Dict[str, Any]) -> Arguments:
    """The arguments of a call that has them in its map."""
    args, kwargs = call.get("args") or [], call.get("kwargs") or {}
    if isinstance(args, bytes):
        args, more = read_arguments(args)
        kwargs = {**more, **kwargs}
    if not isinstance(args, (list, tuple)) or not isinstance(kwargs, dict):
        raise WrongCall("args is a list, and kwargs a map")
    return list(args), kwargs


def read_arguments(data: bytes) -> Arguments:
    """The arguments of a task whose function is in a body."""
    try:
        return codec.decode_arguments(data)
    except Exception as error:
        raise WrongCall(f"the arguments cannot be read here: {type(error).__name__}: {error}") from error


def _callable(mode: str, call: Dict[str, Any]) -> Callable[..., Any]:
    if mode in ("task.eval", "task.exec"):
        return _code(mode, call.get("code"))
    name, content = call.get("function"), call.get("pickle")
    try:
        if name is not None:
            found = codec.import_name(name)
        elif content is not None:
            _refuse_other_python(call.get("written_by"))
            found = pickle.loads(content)
        else:
            raise WrongCall(f"{mode} takes function or pickle, not code")
    except codec.CodecError as error:
        raise WrongCall(str(error)) from error
    except WrongCall:
        raise
    except BaseException as error:
        raise WrongCall(f"the function cannot be read here: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise WrongCall(f"{name or 'what was pickled'} cannot be called: it is of type {type(found).__name__}")
    return found


def _refuse_other_python(written_by: Any) -> None:
    here = codec.python_version()
    if written_by is not None and written_by != here:
        raise WrongCall(
            f"the function was written by Python {written_by} and cannot be read by the {here} of {sys.executable}: say python=... for "
            "one of that version"
        )


def _code(mode: str, code: Any) -> Callable[..., Any]:
    if not isinstance(code, str):
        raise WrongCall(f"{mode} takes code, which is text")
    try:
        compiled = compile(code, f"<{mode}>", "eval" if mode == "task.eval" else "exec")
    except (SyntaxError, ValueError) as error:
        raise WrongCall(f"the code cannot be read: {error}") from error

    def run(*args: Any, **names: Any) -> Any:
        if args:
            raise TypeError(f"{mode} takes names only: give kwargs")
        scope = {"__name__": "__scalems__", **names}
        if mode == "task.eval":
            return eval(compiled, scope)
        exec(compiled, scope)
        return scope.get("result")

    return run
