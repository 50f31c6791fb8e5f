"""The interpreter's life: it reads calls, makes them one after another, and answers."""

from __future__ import annotations

import array
import collections
import errno
import fcntl
import faulthandler
import gc
import os
import select
import signal
import sys
import termios
import threading
import time
from typing import Any, Deque, Dict, List, Optional, Set

from .. import _task, codec
from .._modes import Registry
from .calls import Called, Function, Registered, arguments_of, read_call
from .failure import Failure, enter, failure_of, written
from .variables import Variables
from .wire import Wire

#: A call that takes longer is said to have begun.
SLOW = 0.005
#: The answer of a call that takes less may wait a moment for those of the next.
QUICK_US = 200
#: How long the watch waits at a time for words of the worker while a call runs.
WATCH = 0.05
#: More memory than after its first call, and it is replaced.
GROWTH_BYTES = 1 << 30
#: Calls from one look at its memory to the next.
LOOK_EVERY = 500


class Interpreter:
    """All of it. The main thread calls; a second one watches while a call is slow."""

    def __init__(self, number: int) -> None:
        self.wire = Wire(number)
        self.registry = Registry()
        self.calls: Deque[List[Any]] = collections.deque()
        self.bodies: Dict[int, Any] = {}
        self.dropped: Set[int] = set()
        self.waiting: Dict[int, bool] = {}
        self.undrained: Optional[int] = None
        self.retired = False
        self.ending = False
        #: Who reads the socket, and what is between the two threads.
        self.reading = threading.Lock()
        self.running: Optional[List[Any]] = None
        self.began = False
        self.busy = threading.Event()
        self.place: Dict[str, Any] = {}
        self.variables = Variables()
        self.records: Any = None
        self.outputs: List[int] = []
        self.saved: List[int] = []
        self.counted = array.array("i", [0])
        self.answered = 0
        self.first_memory = 0

    def run(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        watch = threading.Thread(target=self._watch, name="scalems-watch", daemon=True)
        self.wire.send(
            [["ready", {"python": sys.version.split()[0], "pid": os.getpid()}]]
        )
        if not self._more():
            self._end()
        self._take_outputs()
        watch.start()
        # What is there by now stays, and is looked at no more when garbage is collected.
        gc.freeze()
        self.own_threads = set(threading.enumerate())
        _task._adopt = self.own_threads.add
        try:
            while not self.ending:
                if not self.calls or self.undrained is not None:
                    self.wire.flush()
                    if not self._more():
                        break
                    continue
                self._next()
        except (BrokenPipeError, ConnectionError):
            pass
        self._end()

    def _end(self) -> None:
        # Threads that a function has left do not keep it.
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except Exception:  # noqa: BLE001  nobody reads it any more
            pass
        os._exit(0)

    # What the worker says

    def _more(self) -> bool:
        """Waits for words of the worker, and takes them in. False: it has gone."""
        with self.reading:
            if self.ending or (self.calls and self.undrained is None):
                return True
            if not self.wire.read():
                return False
            self._take_all()
        return True

    def _take_all(self) -> None:
        while True:
            frame = self.wire.take()
            if frame is None:
                return
            messages, blobs = frame
            for message in messages:
                self._hear(message, blobs)

    def _hear(self, message: List[Any], blobs: List[bytes]) -> None:
        kind = message[0]
        if kind == "call":
            message[2] = self.bodies.get(message[2])
            message[4] = blobs[message[4]]
            message.append(self.place)
            if self.retired:
                self.wire.send([["dropped", message[1]]])
                return
            self.waiting[message[1]] = True
            self.calls.append(message)
        elif kind == "place":
            self.place = message[1]
        elif kind == "body":
            self.bodies[message[1]] = [message[2], blobs[message[3]], None]
        elif kind == "forget":
            self.bodies.pop(message[1], None)
        elif kind in ("cancel", "recall"):
            self._cancel(message[1], kind == "cancel")
        elif kind == "drained":
            if self.undrained == message[1]:
                self.undrained = None
        elif kind == "end":
            self.ending = True

    def _cancel(self, key: int, even_running: bool) -> None:
        # Whoever takes it out of `waiting` first has it: the caller to begin it, or this to drop it.
        if self.waiting.pop(key, None) is not None:
            self.dropped.add(key)
            self.wire.send([["dropped", key]])
            return
        running = self.running
        if even_running and running is not None and running[1] == key:
            task = _task._current
            if task is not None:
                task._asked_to_end()

    # A second thread

    def _watch(self) -> None:
        seen = None
        while True:
            if self.running is None:
                self.busy.clear()
                if self.running is None:
                    self.busy.wait()
            running = self.running
            if running is None or running is not seen:
                seen = running
                time.sleep(SLOW)
                continue
            self._say_begun(running)
            try:
                if not select.select([self.wire], [], [], WATCH)[0]:
                    continue
                if not self.reading.acquire(timeout=WATCH):
                    continue
                try:
                    # It may have gone to the main thread meanwhile.
                    if select.select([self.wire], [], [], 0)[0]:
                        if not self.wire.read():
                            os._exit(0)
                        self._take_all()
                finally:
                    self.reading.release()
            except (OSError, ValueError):
                os._exit(1)

    def _say_begun(self, running: List[Any]) -> None:
        if not self.began and self.running is running:
            self.began = True
            try:
                self.wire.send([["began", running[1]]])
            except OSError:
                os._exit(0)

    # Calls

    def _next(self) -> None:
        call = self.calls.popleft()
        key = call[1]
        if self.waiting.pop(key, None) is None:
            self.dropped.discard(key)
            return
        self.began = False
        self.running = call
        if not self.busy.is_set():
            self.busy.set()
        begin = time.perf_counter()
        message, blobs = self._make(call)
        # The watch says nothing of it any more.
        self.running = None
        message[2] = int((time.perf_counter() - begin) * 1e6)
        if self.records is not None and self.records.made:
            blobs = [codec.encode_beside(self.records.take(), blobs[0] if blobs else b"")]
            message[-1] = 0
        wrote, why = self._outputs_after()
        message[3] = wrote
        if wrote:
            self.undrained = key
        why = why or self._unfit()
        if self.calls and not wrote and not why and message[2] < QUICK_US:
            return self.wire.answer(message, blobs)
        messages = [message]
        if why:
            self.retired = True
            messages.append(["retire", why])
            for other in list(self.calls):
                if self.waiting.pop(other[1], None) is not None:
                    messages.append(["dropped", other[1]])
            self.calls.clear()
        self.wire.send(messages, blobs)

    def _make(self, call: List[Any]) -> Any:
        _, key, body, mode, data, (submission, index, incarnation, attempt, limit_ms), place = call
        uid = f"{submission}.{index}"
        task = _task.CurrentTask(
            submission,
            index,
            attempt,
            tuple(place.get("cpus", ())),
            tuple(place.get("gpus", ())),
            time.time() + limit_ms / 1e3 if limit_ms else None,
            f"{place.get('directory', '.')}/{uid}/{incarnation}.{attempt}",
            lambda fraction, text: self.wire.send([["progress", key, fraction, text]]),
            _checkpoints=f"{place.get('checkpoints', '.')}/{uid}",
            _cores=place.get("cores", 1),
        )
        _task._set(task)
        self.variables.tell(uid, submission, index, attempt, task.deadline, task._checkpoints, place)
        directory = None
        try:
            if body is not None:
                function: Called = self._function(body)
                args, kwargs = function.arguments(data)
            else:
                whole = read_call(data)
                function = Function(mode, whole)
                args, kwargs = arguments_of(whole)
            task._call = function.written
            if function.cwd:
                directory = os.getcwd()
                enter(function.cwd)
            value = function.call(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  SystemExit too
            return self._failed(key, failure_of(error))
        finally:
            task._end()
            _task._set(None)
            if directory is not None:
                os.chdir(directory)
        data, failure = written(value)
        # What it had goes before the next one comes.
        del value, args, kwargs
        if failure is not None:
            return self._failed(key, failure)
        return ["done", key, 0, False, 0], [data]

    def _function(self, body: List[Any]) -> Called:
        mode, content, found = body
        if found is None:
            # All that is said of a registered mode is its name.
            found = Function(mode, read_call(content)) if content else Registered(mode, self.registry)
            body[2] = found
        return found

    @staticmethod
    def _failed(key: int, failure: Failure) -> Any:
        code, kind, message, trace, value = failure
        blobs = [] if value is None else [value]
        return ["failed", key, 0, False, code, kind, message, trace, 0 if blobs else None], blobs

    # What a call leaves

    def _take_outputs(self) -> None:
        """Standard output and error go to pipes of their own from here on: what comes is a task's."""
        self.wire.take_tray()
        if len(self.wire.descriptors) != 2:
            sys.exit("the worker has not sent two pipes")
        for target, pipe in enumerate(self.wire.descriptors, 1):
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(pipe, target)
            os.set_inheritable(pipe, False)
        self.saved = self.wire.descriptors
        faulthandler.enable(file=self.saved[1])
        import logging

        from .records import Records

        self.records = Records(shown=True)
        logging.getLogger().addHandler(self.records)

    def _outputs_after(self) -> Any:
        """Whether there is something in the pipes, and what is wrong with the descriptors."""
        why = None
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # noqa: BLE001  it may be anything by now
                why = "a task has closed or replaced sys.stdout or sys.stderr"
        wrote = self.began
        for number, saved in zip((1, 2), self.saved):
            try:
                fcntl.ioctl(number, termios.FIONREAD, self.counted, True)
                wrote = wrote or self.counted[0] > 0
            except OSError as error:
                if error.errno == errno.EBADF:
                    os.dup2(saved, number)
                why = f"a task has closed descriptor {number}"
        return wrote, why

    def _unfit(self) -> Optional[str]:
        if threading.active_count() > len(self.own_threads):
            left = [thread.name for thread in threading.enumerate() if thread not in self.own_threads]
            if left:
                return f"a task has left the thread {left[0]}"
        self.answered += 1
        if self.answered == 1 or self.answered % LOOK_EVERY == 0:
            memory = _memory()
            if self.answered == 1:
                self.first_memory = memory
            elif memory > self.first_memory + GROWTH_BYTES:
                return f"its memory has grown to {memory >> 20} MiB"
        return None


def _memory() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
