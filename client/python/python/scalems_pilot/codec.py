"""What is passed to functions and what they return, as bytes: page 10 of the specification, section "Value".

Most values are msgpack with a few extensions, which any language reads; what that cannot express is pickled, the whole
value together. Reading a pickle runs what it says: only a process of the same user may read what another one wrote.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib
import io
import pathlib
import pickle
import struct
import sys
import threading
from typing import Any, Callable, List, Mapping, Optional, Sequence, Tuple, Union

import msgpack

__all__ = [
    "CodecError",
    "Parts",
    "decode",
    "decode_arguments",
    "decode_exception",
    "encode",
    "encode_arguments",
    "encode_beside",
    "encode_exception",
    "encode_parts",
    "import_name",
    "importable",
    "joined",
    "pickled",
    "split_beside",
]

Readable = Union[bytes, bytearray, memoryview]

#: msgpack does not use this byte: what begins with it is of another form.
MARK = 0xC1
PICKLE, BESIDE, EXCEPTION, RANKS = 1, 2, 3, 4
#: Buffers in a pickle begin at multiples of so many bytes.
ALIGNED = 64
#: Arrays of more bytes are pickled out of band, which copies them once.
LARGE = 64 << 10

COMPLEX, ARRAY, DATETIME, DATE, TIME, DURATION, TUPLE, SET, FROZENSET, INTEGER, DATACLASS, PATH = range(1, 13)

_PATH_TYPE = type(pathlib.Path())
_COMPLEX = struct.Struct("<dd")
_DURATION = struct.Struct("<qqq")
_LENGTH = struct.Struct("<I")
#: How msgpack begins bytes that are large, and a list of a list of one argument.
_BYTES, _ONE_ARGUMENT = struct.Struct(">BI"), b"\x91\x91"


class CodecError(ValueError):
    """A value that cannot be written, or bytes that are none."""


class Parts:
    """The bytes of a large value, piece by piece, as they lie in memory: to be sent before anything there changes."""

    __slots__ = ("_length", "pieces")

    def __init__(self, pieces: Sequence[Readable]) -> None:
        self.pieces = pieces
        self._length = sum(memoryview(piece).nbytes for piece in pieces)

    def __len__(self) -> int:
        return self._length

    def joined(self) -> bytes:
        """All of it in one piece."""
        return b"".join(self.pieces)


class _NotExpressible(Exception):
    """msgpack has no form for a part of the value."""


# Writing


def encode(value: Any) -> bytes:
    """The bytes of a value. Raises :class:`CodecError` if it cannot even be pickled."""
    return joined(encode_parts(value))


def encode_parts(value: Any) -> Union[bytes, Parts]:
    """As :func:`encode`; a large value that lies in memory as it is sent is not copied."""
    if value is None:
        return b""
    if type(value) is bytes and len(value) > LARGE:
        return Parts(_bytes_in_parts(value))
    try:
        return _pack(value)
    except (_NotExpressible, ValueError, OverflowError, TypeError, RecursionError):
        return _pickled_parts(value, PICKLE)


def joined(data: Union[bytes, Parts]) -> bytes:
    """A value's bytes in one piece."""
    return data.joined() if type(data) is Parts else data  # type: ignore[return-value, union-attr]


def encode_arguments(args: Sequence[Any], kwargs: Optional[Mapping[str, Any]] = None) -> bytes:
    """The bytes of a call's arguments."""
    if not kwargs and len(args) == 1 and type(args[0]) is bytes and len(args[0]) > LARGE:
        return b"".join((_ONE_ARGUMENT, *_bytes_in_parts(args[0])))
    both = [list(args), dict(kwargs)] if kwargs else [list(args)]
    return encode(both)


def encode_exception(error: BaseException) -> Optional[bytes]:
    """The bytes of an exception; none if it cannot be pickled."""
    try:
        data = pickled(error, form=EXCEPTION)
    except CodecError:
        return None
    return data


def encode_beside(beside: Mapping[str, Any], value: Union[bytes, Parts]) -> Union[bytes, Parts]:
    """A value with what was written beside it; in parts if the value is."""
    if not beside:
        return value
    head = msgpack.packb(dict(beside))
    head = b"".join((bytes((MARK, BESIDE)), _LENGTH.pack(len(head)), head))
    if isinstance(value, Parts):
        return Parts([head, *value.pieces])
    return head + value


def pickled(value: Any, form: int = PICKLE) -> bytes:
    """The bytes of a value as a pickle, with its buffers out of band."""
    return joined(_pickled_parts(value, form))


def _pickled_parts(value: Any, form: int) -> Union[bytes, Parts]:
    buffers: list = []
    try:
        data = _pickle(value, buffers)
    except RecursionError as error:
        raise CodecError(f"{_named(value)} refers to itself too deeply to be sent: {error}") from error
    except Exception as error:
        raise CodecError(f"{_named(value)} cannot be pickled: {error}") from error
    views = []
    for buffer in buffers:
        try:
            views.append(buffer.raw())
        except BufferError:
            # Not in one piece.
            views.append(memoryview(memoryview(buffer).tobytes()))
    lengths = [len(data), *(view.nbytes for view in views)]
    head = bytes((MARK, form)) + struct.pack(f"<I{len(lengths)}Q", len(views), *lengths)
    parts: list = [head, data]
    at = len(head) + len(data)
    for view in views:
        parts.append(bytes(-at % ALIGNED))
        parts.append(view)
        at += -at % ALIGNED + view.nbytes
    return Parts(parts) if at > LARGE and views else b"".join(parts)


def _pickle(value: Any, buffers: list) -> bytes:
    try:
        data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        # What the main script defines is known by that name here only.
        if b"__main__" not in data:
            return data
    except Exception:  # noqa: BLE001  cloudpickle says better what is wrong
        pass
    buffers.clear()
    import cloudpickle

    out = io.BytesIO()
    cloudpickle.Pickler(out, protocol=5, buffer_callback=buffers.append).dump(value)
    return out.getvalue()


def _named(value: Any) -> str:
    return f"a value of type {type(value).__module__}.{type(value).__qualname__}"


_local = threading.local()


def _bytes_in_parts(value: bytes) -> Tuple[bytes, bytes]:
    """What msgpack makes of bytes, in parts, so that they are copied once. Raises :class:`CodecError` if there are too many."""
    if len(value) >= 1 << 32:
        raise CodecError(f"{len(value)} bytes are more than a value can have")
    return _BYTES.pack(0xC6, len(value)), value


def _pack(value: Any) -> bytes:
    packer = getattr(_local, "packer", None)
    if packer is None:
        _local.packer = packer = msgpack.Packer(default=_extension, strict_types=True)
    try:
        return packer.pack(value)
    except BaseException:
        # What it had begun with stays in it.
        _local.packer = None
        raise


def _nested(value: Any) -> bytes:
    return msgpack.packb(value, default=_extension, strict_types=True)


def _extension(value: Any) -> msgpack.ExtType:
    write = _WRITERS.get(type(value))
    if write is not None:
        return write(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and type(value) is numpy.ndarray:
        return _array(value)
    raise _NotExpressible


def _array(value: Any) -> msgpack.ExtType:
    dtype = value.dtype
    if dtype.hasobject or dtype.fields is not None or dtype.kind == "V" or value.nbytes > LARGE:
        raise _NotExpressible
    return msgpack.ExtType(ARRAY, msgpack.packb([dtype.str, list(value.shape), value.tobytes()]))


def _dataclass(value: Any) -> msgpack.ExtType:
    kind = type(value)
    names = {field.name for field in dataclasses.fields(value)}
    own = getattr(value, "__dict__", None)
    state = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs_ex__", "__getnewargs__")
    is_plain = all(getattr(kind, name, None) is getattr(object, name, None) for name in state)
    name = importable(kind)
    if own is None or set(own) != names or not is_plain or name is None:
        raise _NotExpressible
    return msgpack.ExtType(DATACLASS, _nested([name, own]))


def _datetime(value: datetime.datetime) -> msgpack.ExtType:
    if value.fold or not isinstance(value.tzinfo, (type(None), datetime.timezone)):
        raise _NotExpressible
    return msgpack.ExtType(DATETIME, value.isoformat().encode())


def _time(value: datetime.time) -> msgpack.ExtType:
    if value.fold or not isinstance(value.tzinfo, (type(None), datetime.timezone)):
        raise _NotExpressible
    return msgpack.ExtType(TIME, value.isoformat().encode())


def _integer(value: int) -> msgpack.ExtType:
    length = value.bit_length() // 8 + 1
    return msgpack.ExtType(INTEGER, value.to_bytes(length, "big", signed=True))


def _path(value: pathlib.Path) -> msgpack.ExtType:
    return msgpack.ExtType(PATH, str(value).encode())


_WRITERS: dict = {
    tuple: lambda value: msgpack.ExtType(TUPLE, _nested(list(value))),
    complex: lambda value: msgpack.ExtType(COMPLEX, _COMPLEX.pack(value.real, value.imag)),
    set: lambda value: msgpack.ExtType(SET, _nested(list(value))),
    frozenset: lambda value: msgpack.ExtType(FROZENSET, _nested(list(value))),
    int: _integer,
    datetime.datetime: _datetime,
    datetime.date: lambda value: msgpack.ExtType(DATE, value.isoformat().encode()),
    datetime.time: _time,
    datetime.timedelta: lambda value: msgpack.ExtType(
        DURATION, _DURATION.pack(value.days, value.seconds, value.microseconds)
    ),
    _PATH_TYPE: _path,
}


# Reading


def decode(data: Union[Readable, Tuple[bytes]]) -> Any:
    """The value of these bytes. Raises :class:`CodecError` if they are none, and whatever a pickle raises.

    Of a large value that is itself bytes, the native session hands over those, in a tuple.
    """
    if not data:
        return None
    if type(data) is tuple:
        return data[0]
    if data[0] != MARK:
        return _unpack(data)
    form = data[1] if len(data) > 1 else 0
    if form in (PICKLE, EXCEPTION):
        return _unpickle(data)
    if form == BESIDE:
        return decode(split_beside(data)[1])
    if form == RANKS:
        return [decode(part) for part in _split_ranks(data)]
    raise CodecError(f"a value of form {form}, which is not known here: it was written by a later version")


def decode_arguments(data: Readable) -> Tuple[list, dict]:
    """The arguments of a call."""
    both = decode(data)
    if both is None:
        return [], {}
    if not isinstance(both, (list, tuple)) or not 1 <= len(both) <= 2 or not isinstance(both[0], (list, tuple)):
        raise CodecError("arguments are a list [args] or [args, kwargs]")
    kwargs = both[1] if len(both) == 2 else {}
    if not isinstance(kwargs, dict):
        raise CodecError("kwargs are a map")
    return list(both[0]), kwargs


def decode_exception(data: Readable) -> Optional[BaseException]:
    """The exception of these bytes; none if there is none, or if it cannot be built here."""
    data = split_beside(data)[1]
    if len(data) < 2 or data[0] != MARK or data[1] != EXCEPTION:
        return None
    try:
        error = _unpickle(data)
    except Exception:  # noqa: BLE001  its class may be anything, and fail in any way
        return None
    return error if isinstance(error, BaseException) else None


def split_beside(data: Readable) -> Tuple[dict, Readable]:
    """What was written beside a value, and the value's bytes."""
    if len(data) < 2 or data[0] != MARK or data[1] != BESIDE:
        return {}, data
    view = memoryview(data)
    if len(view) < 6:
        raise CodecError("a value with something beside it is cut off")
    (length,) = _LENGTH.unpack_from(view, 2)
    if len(view) < 6 + length:
        raise CodecError("a value with something beside it is cut off")
    beside = msgpack.unpackb(view[6 : 6 + length])
    if not isinstance(beside, dict):
        raise CodecError("what is beside a value is a map")
    return beside, view[6 + length :]


def _split_ranks(data: Readable) -> List[memoryview]:
    view = memoryview(data)
    cut = CodecError("the values of ranks are cut off")
    if len(view) < 6:
        raise cut
    (count,) = _LENGTH.unpack_from(view, 2)
    at = 6 + 8 * count
    if len(view) < at:
        raise cut
    lengths = struct.unpack_from(f"<{count}Q", view, 6)
    if len(view) != at + sum(lengths):
        raise cut
    parts = []
    for length in lengths:
        parts.append(view[at : at + length])
        at += length
    return parts


def _unpack(data: Readable) -> Any:
    try:
        return msgpack.unpackb(data, ext_hook=_extended, strict_map_key=False)
    except CodecError:
        raise
    except (ValueError, msgpack.UnpackException) as error:
        raise CodecError(f"these bytes are no value: {error}") from error


def _extended(code: int, data: bytes) -> Any:
    read = _READERS.get(code)
    if read is None:
        raise CodecError(f"a value has extension {code}, which is not known here: it was written by a later version")
    return read(data)


def _read_array(data: bytes) -> Any:
    import numpy

    dtype, shape, values = msgpack.unpackb(data)
    return numpy.frombuffer(bytearray(values), dtype=numpy.dtype(dtype)).reshape(shape)


def _read_dataclass(data: bytes) -> Any:
    name, fields = _unpack(data)
    kind = import_name(name)
    value = kind.__new__(kind)
    for field, content in fields.items():
        object.__setattr__(value, field, content)
    return value


_READERS: dict = {
    COMPLEX: lambda data: complex(*_COMPLEX.unpack(data)),
    ARRAY: _read_array,
    DATETIME: lambda data: datetime.datetime.fromisoformat(data.decode()),
    DATE: lambda data: datetime.date.fromisoformat(data.decode()),
    TIME: lambda data: datetime.time.fromisoformat(data.decode()),
    DURATION: lambda data: datetime.timedelta(*_DURATION.unpack(data)),
    TUPLE: lambda data: tuple(_unpack(data)),
    SET: lambda data: set(_unpack(data)),
    FROZENSET: lambda data: frozenset(_unpack(data)),
    INTEGER: lambda data: int.from_bytes(data, "big", signed=True),
    DATACLASS: _read_dataclass,
    PATH: lambda data: pathlib.Path(data.decode()),
}


def _unpickle(data: Readable) -> Any:
    view = memoryview(data)
    cut = CodecError("a pickled value is cut off")
    if len(view) < 6:
        raise cut
    (count,) = _LENGTH.unpack_from(view, 2)
    at = 6 + 8 * (count + 1)
    if len(view) < at:
        raise cut
    lengths = struct.unpack_from(f"<{count + 1}Q", view, 6)
    if len(view) < at + lengths[0]:
        raise cut
    content = view[at : at + lengths[0]]
    at += lengths[0]
    buffers: list = []
    for length in lengths[1:]:
        at += -at % ALIGNED
        if len(view) < at + length:
            raise cut
        # So that it may be changed: where it lies, or in a place of its own.
        buffer = view[at : at + length]
        buffers.append(bytearray(buffer) if buffer.readonly else buffer)
        at += length
    return pickle.loads(content, buffers=buffers)


# Names


def importable(thing: Any) -> Optional[str]:
    """``module:qualified.name`` if importing that elsewhere gives the same thing; none for what the main script, a
    notebook or another function defines."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    if module in ("__main__", "__mp_main__") or "<" in name:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is thing else None


def import_name(name: str) -> Any:
    """What ``module:qualified.name`` names. Raises :class:`CodecError` if there is no such thing."""
    module, colon, path = name.partition(":")
    if not colon or not module or not path:
        raise CodecError(f"{name!r} is no name of the form module:name")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        raise CodecError(f"module {module} cannot be imported: {type(error).__name__}: {error}") from error
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise CodecError(f"module {module} has no {path}") from error
    return found


def function_call(function: Callable[..., Any]) -> dict:
    """How a function is sent: by its name if it can be imported, else by content. Part of a Call."""
    name = importable(function)
    if name is not None:
        return {"function": name}
    import cloudpickle

    try:
        content = cloudpickle.dumps(function, protocol=5)
    except Exception as error:
        shown = getattr(function, "__qualname__", repr(function))
        raise CodecError(f"function {shown} cannot be pickled: {error}") from error
    if b"_make_function" in content:
        # Code means something else to every Python.
        return {"pickle": content, "written_by": python_version()}
    return {"pickle": content}


def python_version() -> str:
    """The Python here, as far as it matters to what it can read: ``3.11``."""
    return "{}.{}".format(*sys.version_info[:2])
