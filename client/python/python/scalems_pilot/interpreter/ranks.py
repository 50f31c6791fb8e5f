"""One rank of a call: page 10 of the specification, section "Ranks".

A worker has the launcher of an MPI start ``python -m scalems_pilot.interpreter.ranks DIRECTORY`` once for each rank. That process makes
another, which calls, and says how it ended: launchers tell of some ends only, and do not always end the others.
"""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from typing import Any, Dict, List, NoReturn, Optional, Sequence

import msgpack

from .. import _task
from ..codec import joined
from .calls import Function, WrongCall, arguments_of, read_arguments, read_call
from .failure import Failure, enter, failure_of, written
from .records import Records

#: What tells a rank its number: Open MPI, what is made from MPICH, PMIx, Slurm.
NUMBERS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID")
PR_SET_PDEATHSIG = 1
#: Variables that name the GPUs of a task, one after another.
GPUS = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "SCALEMS_GPUS")


class Rank:
    """This process: it makes the call, says what came of it, and ends."""

    def __init__(self, directory: str, number: int) -> None:
        self.directory = directory
        self.number = number
        with open(self._path("call"), "rb") as file:
            self.told: Dict[str, Any] = msgpack.unpackb(file.read())
        self.ranks: int = self.told["ranks"]
        self.records = Records()

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def run(self) -> NoReturn:
        os.environ["SCALEMS_RANK"] = str(self.number)
        cpus = self._pin()
        gpus = self._share_gpus()
        threading.Thread(target=self._watch, name="scalems-watch", daemon=True).start()
        logging.getLogger().addHandler(self.records)
        submission, index, incarnation, attempt, limit_ms = self.told["task"]
        _task._set(
            _task.CurrentTask(
                submission,
                index,
                attempt,
                tuple(cpus),
                tuple(gpus),
                time.time() + limit_ms / 1e3 if limit_ms else None,
                f"{self.told['directory']}/{submission}.{index}/{incarnation}.{attempt}",
                lambda fraction, text: None,
                rank=self.number,
                ranks=self.ranks,
                _asked=self._path("asked"),
            )
        )
        end = self._make()
        if self.records.made:
            end.update(self.records.take())
        part = self._path(f"{self.number}.part")
        with open(part, "wb") as file:
            file.write(msgpack.packb({**end, "at": time.time()}))
        os.rename(part, self._path(f"{self.number}.ended"))
        self._leave(bool(end.get("code")))

    # The call

    def _make(self) -> Dict[str, Any]:
        try:
            body, data = self.told["body"], self.told["data"]
            call = read_call(data if body is None else body)
            function = Function(self.told["mode"], call)
            args, kwargs = arguments_of(call) if body is None else read_arguments(data)
            if function.cwd:
                enter(function.cwd)
            self._pass_comm(call.get("comm"), args, kwargs)
            value = function.call(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  SystemExit too
            return self._failed(failure_of(error))
        data, failure = written(value)
        return {"value": joined(data)} if failure is None else self._failed(failure)

    def _failed(self, failure: Failure) -> Dict[str, Any]:
        end: Dict[str, Any] = {"code": failure.code, "class": failure.kind, "message": failure.message, "trace": failure.trace}
        if failure.trace:
            end["trace"] = f"Rank {self.number} of {self.ranks}:\n{failure.trace}"
        if failure.value is not None:
            end["value"] = failure.value
        return end

    def _pass_comm(self, how: Any, args: List[Any], kwargs: Dict[str, Any]) -> None:
        """The communicator: not at all, as the first argument, or by a name."""
        if how is None:
            return
        if how is not True and not (isinstance(how, str) and how):
            raise WrongCall(f"comm is true, for the first argument, or the name of one, not {how!r}")
        comm = self._comm()
        if how is True:
            args.insert(0, comm)
        elif how in kwargs:
            raise WrongCall(f"the argument {how!r} is given, and comm is to be passed as that")
        else:
            kwargs[how] = comm

    def _comm(self) -> Any:
        try:
            from mpi4py import MPI
        except ModuleNotFoundError as error:
            raise WrongCall(
                f"the communicator is asked for, and {sys.executable} has no mpi4py: install it there (pip install mpi4py)"
            ) from error
        except (ImportError, RuntimeError) as error:
            raise WrongCall(f"mpi4py of {sys.executable} finds no library of an MPI: {error}") from error
        size = MPI.COMM_WORLD.Get_size()
        if size != self.ranks:
            library = MPI.Get_library_version().splitlines()[0].strip("\x00 ")
            raise WrongCall(
                f"MPI sees {size} ranks where there are {self.ranks}: mpi4py of {sys.executable} uses {library}, which is "
                "another MPI than the launcher's; start the worker with --mpi and the mpiexec of that one"
            )
        return MPI.COMM_WORLD

    # What is around it

    def _pin(self) -> Sequence[int]:
        """Its part of the task's CPUs, if each rank has some of its own."""
        cpus = _part(self.told["cpus"], self.number, self.ranks)
        if not cpus:
            return self.told["cpus"]
        try:
            os.sched_setaffinity(0, cpus)
        except OSError:
            # Slurm may have put its step on other ones.
            return sorted(os.sched_getaffinity(0))
        os.environ["SCALEMS_CPUS"] = ",".join(map(str, cpus))
        return cpus

    def _share_gpus(self) -> Sequence[int]:
        numbers = self.told["gpus"]
        own = _part(numbers, self.number, self.ranks)
        if not own:
            return numbers
        for name in GPUS:
            entries = os.environ.get(name, "").split(",")
            if len(entries) == len(numbers):
                os.environ[name] = ",".join(_part(entries, self.number, self.ranks))
        return own

    def _watch(self) -> None:
        """Ends this process when the task is over, or its worker."""
        with open(self._path("alive"), "rb", buffering=0) as alive:
            alive.read(1)
        os.kill(os.getpid(), signal.SIGKILL)

    def _leave(self, failed: bool) -> NoReturn:
        """Ends, and with a failure all ranks. Threads that the function has left do not keep it."""
        mpi: Any = sys.modules.get("mpi4py.MPI")
        in_mpi = mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized()
        try:
            if not failed:
                atexit._run_exitfuncs()
            _flush()
            if in_mpi and failed:
                mpi.COMM_WORLD.Abort(1)
            elif in_mpi:
                mpi.Finalize()
            if not failed:
                # Not os._exit: some libraries of MPI leave their job only in a handler of C's.
                ctypes.PyDLL(None).exit(0)
        finally:
            os._exit(1)


def _end_with_parent(parent: int) -> None:
    """Has the kernel kill this process once its parent has ended."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _keep(path: str, child: int) -> NoReturn:
    """Waits for the process that calls. If it does not end well, this one does not either, so that all ranks are ended."""
    _, status = os.waitpid(child, 0)
    if status == 0 and os.path.exists(f"{path}.ended"):
        os._exit(0)
    by_signal = os.WIFSIGNALED(status)
    number = os.WTERMSIG(status) if by_signal else os.WEXITSTATUS(status)
    with open(f"{path}.part", "w", encoding="ascii") as file:
        file.write(f"{time.time()} {'signal' if by_signal else 'exit'} {number}")
    os.rename(f"{path}.part", f"{path}.died")
    # Some launchers take an exit code for an end like any other.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(1)


def _number(ranks: int) -> int:
    for name in NUMBERS:
        text = os.environ.get(name, "")
        if text.isdigit() and int(text) < ranks:
            return int(text)
    sys.exit(f"the launcher has told this process no rank below {ranks} in any of {', '.join(NUMBERS)}")


def _part(things: Sequence[Any], rank: int, ranks: int) -> Sequence[Any]:
    """A rank's part of what can be divided among all; nothing if it cannot."""
    each, rest = divmod(len(things), ranks)
    return [] if rest else things[rank * each : (rank + 1) * each]


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001  it may be anything by now
            pass


def main() -> None:
    # `-m` puts the directory in front that we happen to be in.
    if sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]
    if len(sys.argv) != 2:
        sys.exit("scalems_pilot.interpreter.ranks is started by a worker, not by hand")
    directory = sys.argv.pop()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    number = _number(int(os.environ["SCALEMS_RANKS"]))
    path = os.path.join(directory, str(number))
    parent = os.getpid()
    with open(f"{path}.began", "w", encoding="ascii") as file:
        file.write(str(parent))
    child = os.fork()
    if child:
        _keep(path, child)
    _end_with_parent(parent)
    faulthandler.enable()
    # What ranks write is read while they run, and they may be ended at any time.
    sys.stdout.reconfigure(line_buffering=True, write_through=False)  # type: ignore[union-attr]
    Rank(directory, number).run()


if __name__ == "__main__":
    main()
