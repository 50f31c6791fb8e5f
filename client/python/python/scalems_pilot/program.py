"""Programs: how they are said, and how they ended."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, Union

import msgpack

from . import _html
from .future import Future

EXECUTABLE, SHELL = "task.executable", "task.shell"


@dataclasses.dataclass(frozen=True)
class ProgramResult:
    """How a program ended."""

    exit_code: Optional[int]
    signal: Optional[int]
    #: The end of what it wrote, 64 KiB at most, and of its errors.
    stdout: str
    stderr: str
    host: str
    cwd: str
    wall_s: float
    cpu_s: float
    peak_rss_kib: int
    task_id: Optional[str]
    attempt: int
    #: How it ended: ``done``, ``failed``, ``canceled``; and why, if not well.
    ending: str
    code: str = ""
    message: str = ""

    @property
    def ok(self) -> bool:
        """Whether it ended well."""
        return self.ending == "done"

    def _repr_html_(self) -> str:
        how = "ended well" if self.ok else self.message or self.code or self.ending
        rows = [("exit code", self.exit_code), ("signal", self.signal), ("host", self.host), ("seconds", f"{self.wall_s:.3f}")]
        said = [(name, value) for name, value in rows if value not in (None, "")]
        return _html.shown("task", self.task_id or "", how, said, self.stdout + self.stderr)


def program(
    argv: Union[str, Sequence[str]],
    env: Optional[Mapping[str, str]] = None,
    cwd: Optional[str] = None,
    stdin: Union[None, bytes, str] = None,
    stdout: Optional[str] = None,
    stderr: Optional[str] = None,
) -> Tuple[str, bytes]:
    """Mode and data: a string is for a shell, words are a program and its arguments."""
    words = [argv] if isinstance(argv, str) else [str(word) for word in argv]
    if not words:
        raise ValueError("a program has at least a name")
    said: Dict[str, Any] = {"argv": words}
    if env:
        said["env"] = dict(env)
    if cwd is not None:
        said["cwd"] = str(cwd)
    if stdin is not None:
        said["stdin"] = {"data": stdin.encode() if isinstance(stdin, str) else bytes(stdin)}
    for name, path in (("stdout", stdout), ("stderr", stderr)):
        if path is not None:
            said[name] = str(path)
    return (SHELL if isinstance(argv, str) else EXECUTABLE), msgpack.packb(said)


def result_of(
    ending: str,
    value: Optional[bytes],
    task: Optional[Tuple[int, int]],
    attempt: int,
    error: Optional[Tuple[str, str, str, Optional[str], Optional[str], bool]],
) -> ProgramResult:
    """A program's result from what the session says of a task."""
    said = msgpack.unpackb(value) if value else {}
    said = said if isinstance(said, dict) else {}
    return ProgramResult(
        exit_code=said.get("exit_code"),
        signal=said.get("signal"),
        stdout=said.get("stdout", b"").decode(errors="surrogateescape"),
        stderr=said.get("stderr", b"").decode(errors="surrogateescape"),
        host=said.get("host", ""),
        cwd=said.get("cwd", ""),
        wall_s=said.get("wall_s", 0.0),
        cpu_s=said.get("cpu_s", 0.0),
        peak_rss_kib=said.get("peak_rss_kib", 0),
        task_id=None if task is None else f"{task[0]}.{task[1]}",
        attempt=attempt,
        ending=ending,
        code=error[1] if error else "",
        message=error[2] if error else "",
    )


class ProgramFuture(Future):
    """A program that was submitted. Its result is a :class:`ProgramResult`, however it ended."""

    def _on_end(self, ending, value, task, attempt, error):  # type: ignore[no-untyped-def,override]
        taken_back = ending == "canceled" and attempt == 0 and (error is None or error[1] == "canceled")
        if ending == "lost" or taken_back:
            super()._on_end(ending, None, task, attempt, error)
            return
        self._id, self._attempt = task, attempt
        if not self.done():
            self.set_result(result_of(ending, value, task, attempt, error))
