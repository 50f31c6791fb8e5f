"""Task descriptions as RADICAL-Pilot has them, as envelopes (page 2 of the specification, "Single envelope").

The modes and the names of fields are RADICAL-Pilot's (``radical.pilot.TaskDescription``, version 1.6 and later). A field
that means nothing here, or that cannot be honoured, is refused by name if it is set to anything: a description is
never half followed.
"""

from __future__ import annotations

import shlex
from typing import Any, Callable, Dict, List, Mapping

__all__ = ["UnsupportedDescription", "envelope"]

Envelope = Dict[str, Any]

#: Modes that take a program.
PROGRAMS = ("task.executable", "task.proc", "task.service")
#: Modes that take a call, with the field that has it.
CALLS = {"task.function": "function", "task.method": "method", "task.eval": "code", "task.exec": "code"}
#: Fields that say which process of theirs serves a task: any worker here does.
IGNORED = {"raptor_id", "raptor_file", "raptor_class", "scheduler", "partition", "pilot"}
#: What they were called in earlier versions.
RENAMED = {"cpu_processes": "ranks", "cpu_threads": "cores_per_rank", "gpu_processes": "gpus_per_rank"}


class UnsupportedDescription(ValueError):
    """A task description that cannot be followed as it stands."""


def envelope(description: Mapping[str, Any]) -> Envelope:
    """The envelope of a task description. Raises :class:`UnsupportedDescription`, which names the field.

    >>> envelope({"executable": "/bin/date", "arguments": ["-u"], "cores_per_rank": 2})["data"]
    {'argv': ['/bin/date', '-u']}
    """
    left = _renamed({key: value for key, value in dict(description).items() if not _is_unset(value)})
    mode = left.pop("mode", "task.executable")
    made: Envelope = {"mode": mode, "data": _data(mode, left)}
    for part, take in (("needs", _needs), ("policy", _policy)):
        found = take(left)
        if found:
            made[part] = found
    for field in ("uid", "name"):
        if field in left:
            made[field] = str(left.pop(field))
    labels = left.pop("tags", None)
    if labels is not None:
        made["labels"] = {str(key): str(value) for key, value in _map("tags", labels).items()}
    if "metadata" in left:
        made["meta"] = left.pop("metadata")
    unknown = sorted(key for key in left if key not in IGNORED)
    if unknown:
        raise UnsupportedDescription(
            f"a task description has {', '.join(unknown)}, which scalems does not follow: leave it out, or say it in scalems' own terms"
        )
    return made


def _is_unset(value: Any) -> bool:
    """Their descriptions have all fields, most of them with what stands for nothing."""
    return value is None or (isinstance(value, (str, list, tuple, dict)) and not value) or value is False


def _renamed(fields: Dict[str, Any]) -> Dict[str, Any]:
    for old, new in RENAMED.items():
        if old in fields:
            fields.setdefault(new, fields[old])
            del fields[old]
    return fields


def _data(mode: str, left: Dict[str, Any]) -> Dict[str, Any]:
    if mode in PROGRAMS:
        return _program(left)
    if mode == "task.shell":
        line = left.pop("command", None)
        if not isinstance(line, str):
            raise UnsupportedDescription("mode task.shell takes a command line in command")
        return {"argv": [_with_steps(line, left)], **_surroundings(left)}
    if mode in CALLS:
        return _call(mode, left)
    raise UnsupportedDescription(f"mode {mode!r} is not one that scalems has: use task.executable, task.function, …")


def _program(left: Dict[str, Any]) -> Dict[str, Any]:
    executable = left.pop("executable", None)
    if not isinstance(executable, str):
        raise UnsupportedDescription("a program's description has its path in executable")
    argv = [executable, *_words("arguments", left.pop("arguments", []))]
    if "pre_exec" in left or "post_exec" in left:
        argv = ["/bin/sh", "-c", _with_steps("exec " + shlex.join(argv) if "post_exec" not in left else shlex.join(argv), left)]
    return {"argv": argv, **_surroundings(left)}


def _with_steps(line: str, left: Dict[str, Any]) -> str:
    """The line between what has to be done before and after it; the first that fails ends all of it."""
    before, after = _words("pre_exec", left.pop("pre_exec", [])), _words("post_exec", left.pop("post_exec", []))
    return "\n".join((["set -e"] if before or after else []) + before + [line] + after)


def _surroundings(left: Dict[str, Any]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    if "environment" in left:
        environment = _map("environment", left.pop("environment"))
        found["env"] = {str(key): str(value) for key, value in environment.items()}
    for theirs, ours in (("sandbox", "cwd"), ("stdout", "stdout"), ("stderr", "stderr")):
        if theirs in left:
            found[ours] = str(left.pop(theirs))
    return found


def _call(mode: str, left: Dict[str, Any]) -> Dict[str, Any]:
    field = CALLS[mode]
    what = left.pop(field, None)
    call: Dict[str, Any] = {}
    if field == "code":
        if not isinstance(what, str):
            raise UnsupportedDescription(f"mode {mode} takes its text in code")
        call["code"] = what
    elif isinstance(what, str) and ":" in what:
        call["function"] = what
    elif isinstance(what, str) and "." in what:
        module, _, name = what.rpartition(".")
        call["function"] = f"{module}:{name}"
    elif callable(what):
        from ..codec import function_call

        call.update(function_call(what))
    else:
        raise UnsupportedDescription(
            f"mode {mode} takes in {field} a function or its name with its module, as 'module:name': their own pickled text is not read"
        )
    if "args" in left:
        call["args"] = list(left.pop("args"))
    if "kwargs" in left:
        call["kwargs"] = dict(_map("kwargs", left.pop("kwargs")))
    if "environment" in left:
        call["env"] = {str(key): str(value) for key, value in _map("environment", left.pop("environment")).items()}
    if "named_env" in left:
        call["python"] = str(left.pop("named_env"))
    if "sandbox" in left:
        call["cwd"] = str(left.pop("sandbox"))
    return call


def _needs(left: Dict[str, Any]) -> Dict[str, Any]:
    takes: Dict[str, Callable[[Any], Any]] = {"ranks": int, "cores_per_rank": int, "gpus_per_rank": float, "mem_per_rank": int}
    found: Dict[str, Any] = {}
    for field, kind in takes.items():
        if field not in left:
            continue
        number = _number(field, left.pop(field), kind)
        if number < 0:
            raise UnsupportedDescription(f"{field} is not negative: {number!r}")
        found[field] = number if number != int(number) else int(number)
    if found.get("ranks") == 0:
        raise UnsupportedDescription("ranks is at least 1")
    return found


def _policy(left: Dict[str, Any]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    if "priority" in left:
        found["priority"] = _number("priority", left.pop("priority"), int)
    if "timeout" in left:
        found["time_limit_ms"] = int(_number("timeout", left.pop("timeout"), float) * 1_000)
    if left.pop("restartable", False):
        found["retries"] = 1
    return found


def _number(field: str, value: Any, kind: Callable[[Any], Any]) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnsupportedDescription(f"{field} is a number, not {value!r}") from error


def _words(field: str, value: Any) -> List[str]:
    if not isinstance(value, (list, tuple)):
        raise UnsupportedDescription(f"{field} is a list, not {value!r}")
    return [str(word) for word in value]


def _map(field: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UnsupportedDescription(f"{field} is a map, not {value!r}")
    return value
