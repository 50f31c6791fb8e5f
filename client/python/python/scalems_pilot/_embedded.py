"""A pilot of this process's own: it ends with the process, however that ends."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Optional, Sequence, Union

from . import _command
from ._functions import module_path
from .errors import PilotNotFound

Path = Union[str, "os.PathLike[str]"]

#: How long it may take to serve.
START_S = 30.0
#: How long it may take to end; then it is killed.
END_S = 15.0
#: How much of what it complained about is shown.
COMPLAINT_BYTES = 2_000


class EmbeddedPilot:
    """A pilot without a journal in a directory of its own, with one worker that offers this machine. ``functions``: it gets an
    interpreter ready for some."""

    def __init__(
        self,
        cores: Optional[int] = None,
        gpus: Optional[int] = None,
        functions: bool = False,
        mode_modules: Sequence[str] = (),
        filters: Sequence[Path] = (),
    ) -> None:
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="scalems-"))
        try:
            self._process = self._start(cores, gpus, functions, mode_modules, filters)
            self._await()
        except BaseException:
            self.stop()
            raise

    def _start(
        self,
        cores: Optional[int],
        gpus: Optional[int],
        functions: bool,
        mode_modules: Sequence[str],
        filters: Sequence[Path],
    ) -> "subprocess.Popen[bytes]":
        words = [_command.command(), "--output", "json", "pilot", "start", "--ends-with-stdin"]
        words += ["--name", f"python-{os.getpid()}", "--dir", str(self.directory / "pilot"), "--journal", "none"]
        for word, number in (("--cores", cores), ("--gpus", gpus)):
            if number is not None:
                words += [word, str(number)]
        python = [sys.executable, *module_path()]
        if functions and all(python) and not any(":" in part for part in python):
            # While this process connects, the first interpreter starts.
            words += ["--warm", ":".join(python)]
        environment = dict(os.environ)
        # Functions run in this Python, unless they say otherwise.
        environment["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), environment.get("PATH", os.defpath)])
        words += [f"--filter={os.fspath(file)}" for file in filters]
        if mode_modules:
            words += [f"--mode-module={module}" for module in mode_modules]
            # They are where this process finds them.
            found = [*module_path(), *filter(None, [environment.get("PYTHONPATH")])]
            environment["PYTHONPATH"] = os.pathsep.join(found)
        with open(self.directory / "pilot.log", "wb") as log:
            # In a group of its own: Ctrl-C is for this process, which then ends that one.
            return subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def _await(self) -> None:
        """Waits for the line by which it says that it serves."""
        import selectors

        out = self._process.stdout
        assert out is not None
        until = time.monotonic() + START_S
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                left = until - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise PilotNotFound(f"the embedded pilot does not serve after {START_S:.0f} s{self.complaint()}")
                read = os.read(out.fileno(), 4_096)
                if not read:
                    raise PilotNotFound(f"the embedded pilot ended at once{self.complaint()}")
                line += read
        json.loads(line)

    @property
    def connection(self) -> str:
        """Its connection file for clients."""
        return str(self.directory / "pilot" / "client.json")

    @property
    def pid(self) -> int:
        """The agent's process."""
        return self._process.pid

    def complaint(self) -> str:
        """What it wrote to its standard error last."""
        try:
            text = (self.directory / "pilot.log").read_bytes()[-COMPLAINT_BYTES:].decode(errors="replace").strip()
        except OSError:
            return ""
        return f"; it says: {text}" if text else ""

    def stop(self) -> None:
        """Ends it, and removes its directory."""
        process = getattr(self, "_process", None)
        if process is not None:
            if process.stdin is not None and not process.stdin.closed:
                process.stdin.close()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
            if process.returncode:
                # It had no time to end its workers.
                _end_session(process.pid)
        shutil.rmtree(self.directory, ignore_errors=True)


def _end_session(leader: int) -> None:
    """Asks all processes of a session to end whose leader has; each takes along what it has started."""
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # Behind the name, which may have any characters: state, parent, group, session.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                os.kill(int(entry.name), signal.SIGTERM)
        except (OSError, ValueError, IndexError):
            # It has ended meanwhile.
            continue
