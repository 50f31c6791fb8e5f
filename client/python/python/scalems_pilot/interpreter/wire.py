"""Frames between an interpreter and its worker."""

from __future__ import annotations

import array
import socket
import struct
import threading
from typing import Any, List, Optional, Sequence, Tuple

import msgpack

_LENGTH = struct.Struct("<I")
#: A head is at most so long.
HEAD_BYTES = 16 << 20
READ_BYTES = 1 << 18
#: Up to here joining costs less than another call of the system.
JOINED_BYTES = 1 << 16


class Wire:
    """The socket. Any thread may send; one at a time reads."""

    def __init__(self, number: int) -> None:
        self.socket = socket.socket(fileno=number)
        self.socket.set_inheritable(False)
        self._sending = threading.Lock()
        self._pack = msgpack.Packer(autoreset=True).pack
        self._buffer = bytearray()
        self.descriptors: List[int] = []

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, messages: Sequence[Any], blobs: Sequence[bytes] = ()) -> None:
        """Sends messages with their blobs."""
        with self._sending:
            head = self._pack([messages, [len(blob) for blob in blobs]])
            parts = [_LENGTH.pack(len(head)), head, *blobs]
            if len(blobs) == 0 or sum(map(len, blobs)) <= JOINED_BYTES:
                self.socket.sendall(b"".join(parts))
            else:
                for part in parts:
                    self.socket.sendall(part)

    def read(self) -> bool:
        """Waits for more bytes. Returns whether there were any: none come when the worker has gone."""
        if self.descriptors is not None and not self._buffer and not self.descriptors:
            return self._read_first()
        more = self.socket.recv(READ_BYTES)
        self._buffer += more
        return bool(more)

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

    def take(self) -> Optional[Tuple[List[Any], List[bytes]]]:
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
        blobs = []
        with memoryview(buffer) as view:
            for size in lengths:
                blobs.append(bytes(view[at : at + size]))
                at += size
        del buffer[:total]
        return messages, blobs

    def _take_large(self, messages: List[Any], lengths: List[int], at: int, total: int) -> Optional[Any]:
        """The rest of a frame that has begun comes at once: it is waited for, into its place."""
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
            blobs = []
            for size in lengths:
                blobs.append(bytes(view[at : at + size]))
                at += size
        return messages, blobs
