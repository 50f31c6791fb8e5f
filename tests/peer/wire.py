"""The wire as docs/spec/1-bus.md says it: headers, places, hashes, connection files, sockets.

Written from the specifications alone, on pyzmq and msgpack; no code of the project is used.
"""

import json
import os
import pathlib
import socket
import time

import msgpack
import zmq

VERSION = 1
MASK = (1 << 64) - 1
HEADER_BYTES = 1 << 20
EMBEDDED_BYTES = 1024
# How long anything may take that should take no time: everything that waits has a deadline.
PATIENCE = 10.0
LEASED, RUNNING = 1, 2


class Trouble(Exception):
    """Something is not as the specification says."""


def pack(kind, /, **fields):
    """A header of this type."""
    return msgpack.packb({"v": VERSION, "type": kind, **fields})


def unpack(header):
    """The content of a header; arrays become lists, binary bytes."""
    if len(header) > HEADER_BYTES:
        raise Trouble(f"a header of {len(header)} bytes, over 1 MiB")
    content = msgpack.unpackb(header, strict_map_key=True)
    if not isinstance(content, dict):
        raise Trouble("a header that is not a map")
    if content.get("v", VERSION) != VERSION:
        raise Trouble(f"a header of version {content['v']}")
    return content


def blobs_of(content, frames):
    """The blobs of a message: its frames, or the one inside its header (docs/spec/1-bus.md, Frames)."""
    if "blob" not in content:
        return frames
    blob = content.pop("blob")
    if frames or not isinstance(blob, bytes):
        raise Trouble("a blob in the header goes alone, and is binary")
    if len(blob) > EMBEDDED_BYTES:
        raise Trouble(f"a blob of {len(blob)} bytes in a header")
    return [blob]


def fold(folded, value):
    z = (folded + value + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def lease_term(incarnation, submission, attempt, state, offset):
    """The term of one lease in a state hash (docs/spec/3-worker.md); state is LEASED or RUNNING."""
    folded = 0
    for value in (incarnation, submission, attempt, state, offset):
        folded = fold(folded, value)
    return folded


def take(place, count, blobs):
    """The data of each task of a run (docs/spec/1-bus.md, Batches)."""
    blob, at, length = place.get("blob"), place.get("at", 0), place.get("length", 0)
    ends = place.get("ends", [])
    if blob is None:
        if length or ends:
            raise Trouble("a place without a blob has no data")
        return [b""] * count
    if blob >= len(blobs):
        raise Trouble("a place names a blob that is not there")
    data = blobs[blob][at : at + length]
    if len(data) != length:
        raise Trouble("a place ends outside its blob")
    if not ends:
        return [data] * count
    if len(ends) != count or count > 1024:
        raise Trouble("a column needs one entry a task")
    if ends != sorted(ends) or ends[-1] != length:
        raise Trouble("ends do not rise to the length")
    return [data[start:end] for start, end in zip([0, *ends[:-1]], ends)]


def column(items):
    """One blob and the ends of its items."""
    ends, total = [], 0
    for item in items:
        total += len(item)
        ends.append(total)
    return b"".join(items), ends


def offsets(run):
    return range(run["lo"], run["hi"])


class ConnectionFile:
    """How to reach the agent in one role (docs/spec/7-connection-file.md)."""

    def __init__(self, directory, role):
        path = pathlib.Path(directory) / f"{role}.json"
        mode = path.stat().st_mode
        if mode & 0o077 or path.is_symlink():
            raise Trouble(f"{path} can be read by others: mode {mode & 0o7777:o}")
        content = json.loads(path.read_text())
        if content["version"] != 1 or content["role"] != role:
            raise Trouble(f"{path} is not version 1 of the role {role}")
        self.role = role
        self.pilot = bytes.fromhex(content["pilot_id"])
        requests, stream = ("backend", "beats") if role == "worker" else ("frontend", "events")
        self.requests, self.stream = content[requests], content[stream]
        self.curve = content.get("curve")
        self.here = content["host"] in (socket.gethostname(), socket.getfqdn(), os.uname().nodename)

    def transports(self):
        """The transports that can be used from here."""
        return [kind for kind in ("ipc", "tcp") if self.requests.get(kind) and (kind == "tcp" or self.here)]

    def open(self, context, kind, addresses, transport, keys=None, routing_id=None):
        """A connected socket; `keys` are others than the file's."""
        opened = context.socket(kind)
        if routing_id:
            opened.routing_id = routing_id
        opened.linger = 0
        opened.maxmsgsize = (64 << 20) + (64 << 10)
        opened.sndhwm = opened.rcvhwm = 0
        if kind == zmq.DEALER:
            opened.immediate = 1
        if transport == "tcp":
            public, secret = keys or (self.curve["public_key"].encode(), self.curve["secret_key"].encode())
            opened.curve_serverkey = self.curve["server_public_key"].encode()
            opened.curve_publickey, opened.curve_secretkey = public, secret
        opened.connect(addresses[transport])
        return opened


class Deadline:
    """A point in time by which something has to have happened."""

    def __init__(self, seconds=PATIENCE):
        self.at = time.monotonic() + seconds

    def left_ms(self):
        return max(0, int((self.at - time.monotonic()) * 1000))

    def over(self):
        return time.monotonic() >= self.at


def expect(condition, what):
    if not condition:
        raise Trouble(what)


def same(found, wanted, what):
    if found != wanted:
        raise Trouble(f"{what}: {found!r} instead of {wanted!r}")
