"""Frames between an interpreter and its worker."""

from __future__ import annotations

import array
import functools
import mmap
import os
import socket
import struct
import threading
import time
from typing import Any, List, Optional, Sequence, Tuple, Union

import msgpack

from ..codec import Parts, joined

#: Of a large value its pieces are sent from where they lie.
Blob = Union[bytes, Parts]
_LENGTH = struct.Struct("<I")
#: A head is at most so long.
HEAD_BYTES = 16 << 20
READ_BYTES = 1 << 18
#: The tray begins with `u32` how often it was emptied, `u32` how much lies in it.
_TRAY = struct.Struct("<II")
#: Options of glibc's malloc.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
#: So long an answer may wait for those of the next calls, seconds.
HELD = 0.001
#: Up to here joining costs less than another call of the system.
JOINED_BYTES = 1 << 16


@functools.lru_cache(maxsize=None)
def _keep_freed_memory() -> None:
    """Has glibc keep what is freed for the next large value: new pages cost more than copying into them."""
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # another C library
    for option, size in ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 64 << 20), (_TOP_PAD, 64 << 20)):
        mallopt(option, size)


class Wire:
    """The socket. Any thread may send; one at a time reads."""

    def __init__(self, number: int) -> None:
        self.socket = socket.socket(fileno=number)
        self.socket.set_inheritable(False)
        self._sending = threading.Lock()
        self._pack = msgpack.Packer(autoreset=True).pack
        self._buffer = bytearray()
        # Of a size that malloc would ask the system for anew each time.
        self._room = memoryview(bytearray(READ_BYTES))
        self.descriptors: List[int] = []
        #: Answers that wait for company, since when, and where they lie meanwhile for the worker to find.
        self._held: List[bytes] = []
        self._held_since = 0.0
        self._tray: Optional[mmap.mmap] = None
        self._emptied = self._used = 0

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, messages: Sequence[Any], blobs: Sequence[Blob] = ()) -> None:
        """Sends messages with their blobs."""
        with self._sending:
            head = self._pack([messages, [len(blob) for blob in blobs]])
            # What is small goes together, and what is large from where it lies.
            together = [_LENGTH.pack(len(head)), head]
            for blob in blobs:
                for piece in blob.pieces if isinstance(blob, Parts) else (blob,):
                    if len(piece) <= JOINED_BYTES:
                        together.append(piece)
                    else:
                        self._send(b"".join(together))
                        self.socket.sendall(piece)
                        together = []
            if together:
                self._send(b"".join(together))

    def answer(self, message: Sequence[Any], blobs: Sequence[Blob]) -> None:
        """Sends an answer; if it is small, a moment later: others follow, or `flush` is called.

        Until then it lies in the tray. The worker reads that if this process ends, or is silent for long.
        """
        tray = self._tray
        if tray is None or sum(map(len, blobs)) > JOINED_BYTES:
            return self.send([message], blobs)
        with self._sending:
            head = self._pack([[message], [len(blob) for blob in blobs]])
            frame = b"".join((_LENGTH.pack(len(head)), head, *map(joined, blobs)))
            at = _TRAY.size + self._used
            end = at + len(frame)
            now = time.perf_counter()
            if not self._held:
                self._held_since = now
            if end > len(tray) or now - self._held_since > HELD:
                return self._send(frame)
            tray[at:end] = frame
            self._used += len(frame)
            _TRAY.pack_into(tray, 0, self._emptied, self._used)
            self._held.append(frame)

    def flush(self) -> None:
        """Sends what waits for company."""
        if self._held:
            with self._sending:
                self._send(b"")

    def _send(self, frame: bytes) -> None:
        held = self._held
        if not held:
            return self.socket.sendall(frame)
        held.append(frame)
        self._held = []
        self.socket.sendall(b"".join(held))
        self._emptied = (self._emptied + 1) & 0xFFFFFFFF
        self._used = 0
        _TRAY.pack_into(self._tray, 0, self._emptied, 0)

    def take_tray(self) -> None:
        """Maps the third descriptor that the worker has sent, if it has."""
        if len(self.descriptors) > 2:
            number = self.descriptors.pop(2)
            self._tray = mmap.mmap(number, 0)
            os.close(number)

    def read(self) -> bool:
        """Waits for more bytes. Returns whether there were any: none come when the worker has gone."""
        if not self._buffer and not self.descriptors:
            return self._read_first()
        count = self.socket.recv_into(self._room)
        self._buffer += self._room[:count]
        return count > 0

    def _read_first(self) -> bool:
        room = socket.CMSG_SPACE(8 * array.array("i").itemsize)
        more, ancillary, _, _ = self.socket.recvmsg(READ_BYTES, room)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                self.descriptors.extend(numbers)
        self._buffer += more
        return bool(more)

    def take(self) -> Optional[Tuple[List[Any], List[Any]]]:
        """The next frame, if all of it is there."""
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        (length,) = _LENGTH.unpack_from(buffer)
        if length > HEAD_BYTES:
            raise ValueError(f"a head of {length} bytes is not one of ours")
        if len(buffer) < 4 + length:
            return None
        messages, lengths = msgpack.unpackb(memoryview(buffer)[4 : 4 + length], strict_map_key=False)
        at = 4 + length
        total = at + sum(lengths)
        if len(buffer) < total:
            return self._take_large(messages, lengths, at, total)
        blobs: List[Any] = []
        with memoryview(buffer) as view:
            for size in lengths:
                blobs.append(bytes(view[at : at + size]))
                at += size
        del buffer[:total]
        return messages, blobs

    def _take_large(self, messages: List[Any], lengths: List[int], at: int, total: int) -> Optional[Any]:
        """The rest of a frame that has begun comes at once: it is waited for, into its place."""
        _keep_freed_memory()
        whole = bytearray(total)
        have = len(self._buffer)
        whole[:have] = self._buffer
        self._buffer.clear()
        with memoryview(whole) as view:
            while have < total:
                count = self.socket.recv_into(view[have:])
                if not count:
                    return None
                have += count
        # They stay where they are, each with its own use of that.
        blobs: List[Any] = []
        for size in lengths:
            blobs.append(memoryview(whole)[at : at + size])
            at += size
        return messages, blobs
