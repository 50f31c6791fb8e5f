"""Task descriptions as envelopes (page 2 of the specification, "Single envelope")."""

from __future__ import annotations

import shlex
from typing import Any, Callable, Dict, List, Mapping

__all__ = ["UnsupportedDescription", "envelope"]

Envelope = Dict[str, Any]

#: Modes that take a program.
PROGRAMS = ("task.executable", "task.proc")
#: Modes that take a call, with the field that has it.
CALLS = {"task.function": "function", "task.method": "method", "task.eval": "code", "task.exec": "code"}
#: Fields that say which process of theirs serves a task: any worker here does.
IGNORED = {"raptor_id", "raptor_file", "raptor_class", "scheduler", "partition", "pilot"}
#: Fields that they ignore too.
IGNORED |= {"cpu_process_type", "gpu_process_type"}
#: What they were called in earlier versions.
RENAMED = {
    "cpu_processes": "ranks",
    "cpu_threads": "cores_per_rank",
    "gpu_processes": "gpus_per_rank",
    "mem_per_process": "mem_per_rank",
    "lfs_per_process": "lfs_per_rank",
    "cpu_thread_type": "threading_type",
}
#: Kinds of threads: each task finds in ``OMP_NUM_THREADS`` how many it may have.
THREADS = ("OpenMP", "POSIX")


class UnsupportedDescription(ValueError):
    """A task description that cannot be followed as it stands."""


def envelope(description: Mapping[str, Any]) -> Envelope:
    """The envelope of a task description. Raises :class:`UnsupportedDescription`, which names the field.

    >>> envelope({"executable": "/bin/date", "arguments": ["-u"], "cores_per_rank": 2})["data"]
    {'argv': ['/bin/date', '-u']}
    """
    said = dict(description).items()
    left = _renamed({key: value for key, value in said if not _is_unset(value) or (key == "use_mpi" and value is False)})
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
    return value is None or (isinstance(value, (str, list, tuple, dict, float, bool)) and not value)


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
        # The name of a method has that of its class before it.
        parts = what.rsplit(".", 2 if mode == "task.method" and what.count(".") > 1 else 1)
        call["function"] = f"{parts[0]}:{'.'.join(parts[1:])}"
    elif callable(what):
        from ...codec import function_call

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
    takes: Dict[str, Callable[[Any], Any]] = {
        "ranks": int,
        "cores_per_rank": int,
        "gpus_per_rank": float,
        "mem_per_rank": int,
        "lfs_per_rank": int,
    }
    found: Dict[str, Any] = {}
    for field, kind in takes.items():
        if field not in left:
            continue
        number = _number(field, left.pop(field), kind)
        if number < 0:
            raise UnsupportedDescription(f"{field} is not negative: {number!r}")
        found[field] = number if number != int(number) else int(number)
    ranks = found.get("ranks", 1)
    if ranks == 0:
        raise UnsupportedDescription("ranks is at least 1")
    if left.pop("use_mpi", ranks > 1) != (ranks > 1):
        raise UnsupportedDescription(f"use_mpi is for tasks with several ranks, and for all of those: ranks is {ranks}")
    threads = left.pop("threading_type", None)
    if threads not in (None, *THREADS):
        raise UnsupportedDescription(f"threading_type is {' or '.join(THREADS)}, not {threads!r}")
    disk = found.pop("lfs_per_rank", 0)
    if disk:
        # Amounts of other kinds are for the whole task.
        found["named"] = {"disk": disk * ranks}
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
