"""Values are read as they were written."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import math
import pathlib
import threading
import zoneinfo
from typing import Any

import msgpack
import pytest

from scalems_pilot import codec


@dataclasses.dataclass
class Point:
    x: float
    y: float
    tags: tuple = ()


class Colour(enum.Enum):
    RED = 1


UTC = datetime.timezone.utc
PLAIN = [
    None,
    True,
    0,
    -(1 << 63),
    (1 << 64) - 1,
    1 << 64,
    -(1 << 200),
    1.5,
    math.inf,
    "",
    "wörds",
    b"\xc1",
    [],
    [1, [2, (3,)]],
    (),
    (1, "two", (3.0, None)),
    {},
    {"a": 1, 2: "b", (3, 4): [5]},
    1 + 2j,
    {1, 2},
    frozenset([(1, 2)]),
    datetime.datetime(2026, 12, 1, 1, 2, 3, 4),
    datetime.datetime(2026, 12, 1, tzinfo=UTC),
    datetime.date(2026, 12, 1),
    datetime.time(1, 2, 3, 4),
    datetime.timedelta(days=-1, microseconds=5),
    pathlib.Path("/tmp/a b"),
]
PICKLED = [
    Colour.RED,
    collections.OrderedDict(a=1),
    datetime.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    range(3),
    slice(1, 2),
    "\ud800",
]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_are_msgpack(value: Any) -> None:
    data = codec.encode(value)
    assert data[:1] != b"\xc1"
    found = codec.decode(data)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("value", PICKLED, ids=repr)
def test_other_values_are_pickled(value: Any) -> None:
    data = codec.encode([value])
    assert data[:2] == b"\xc1\x01"
    (found,) = codec.decode(data)
    assert found == value and type(found) is type(value)


def test_not_a_number_stays_so() -> None:
    assert math.isnan(codec.decode(codec.encode(math.nan)))


def test_dataclasses_of_modules_have_a_form_that_others_can_read() -> None:
    value = Point(1.0, 2.0, ("a",))
    data = codec.encode({"point": value})
    found = codec.decode(data)["point"]
    assert found == value and type(found) is Point
    # Any reader of msgpack sees the fields.
    extension = msgpack.unpackb(data)["point"]
    assert msgpack.unpackb(extension.data)[0] == f"{__name__}:Point"
    value.more = 1  # type: ignore[attr-defined]
    assert codec.decode(codec.encode(value)).more == 1, "what is no field is not lost"


def test_what_refers_to_itself_is_sent() -> None:
    value: list = []
    value.append(value)
    found = codec.decode(codec.encode(value))
    assert found[0] is found


def test_arrays() -> None:
    numpy = pytest.importorskip("numpy")
    small = numpy.arange(6, dtype="<i4").reshape(2, 3)
    large = numpy.asfortranarray(numpy.random.default_rng(1).random((300, 100)))
    for value in (small, large, large[::2, ::3], numpy.float64(1.5), numpy.zeros((0, 4))):
        found = codec.decode(codec.encode(value))
        assert numpy.array_equal(found, value) and found.dtype == value.dtype
    found = codec.decode(codec.encode([small, large]))
    found[0][0, 0] = found[1][0, 0] = 7
    assert codec.encode(small)[:1] != b"\xc1" and codec.encode(large)[:2] == b"\xc1\x01"
    # Buffers are begun where arrays want them.
    data = codec.encode(large)
    assert len(data) % codec.ALIGNED == large.nbytes % codec.ALIGNED
    record = numpy.zeros(2, dtype=[("a", "i4"), ("b", "f8")])
    assert codec.decode(codec.encode(record)).dtype == record.dtype


def test_arguments() -> None:
    assert codec.decode_arguments(codec.encode_arguments((1, (2,)), {"k": 3})) == ([1, (2,)], {"k": 3})
    assert codec.decode_arguments(codec.encode_arguments(())) == ([], {})
    assert codec.decode_arguments(b"") == ([], {})
    for wrong in (1, [], [1], [[], 1], [[], {}, {}]):
        with pytest.raises(codec.CodecError):
            codec.decode_arguments(codec.encode(wrong))


def test_what_was_written_beside() -> None:
    beside = {"stdout": b"hello\n", "stdout_bytes": 6}
    data = codec.encode_beside(beside, codec.encode((1, 2)))
    assert codec.decode(data) == (1, 2)
    found, rest = codec.split_beside(data)
    assert found == beside and codec.decode(rest) == (1, 2)
    assert codec.encode_beside({}, b"x") == b"x"
    for cut in range(2, len(data) - len(codec.encode((1, 2)))):
        with pytest.raises(codec.CodecError):
            codec.split_beside(data[:cut])


def test_exceptions() -> None:
    error = KeyError("k", 1)
    found = codec.decode_exception(codec.encode_exception(error))  # type: ignore[arg-type]
    assert type(found) is KeyError and found.args == error.args

    class Wrong(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__("text")

    data = codec.encode_exception(Wrong(1, 2))
    assert data is not None and codec.decode_exception(data) is None, "it cannot be built again"
    assert codec.encode_exception(ValueError(lambda: 0, open)) is not None
    assert codec.encode_exception(ValueError(threading.Lock())) is None
    assert codec.decode_exception(codec.encode(1)) is None


def test_what_cannot_be_written_says_what() -> None:
    with pytest.raises(codec.CodecError, match="type builtins.list"):
        codec.encode([threading.Lock()])
    # And harms no other.
    assert codec.decode(codec.encode([1])) == [1]


@pytest.mark.parametrize("data", [b"\xc1", b"\xc1\x09", b"\x91", b"\x01\x02", b"\xc7\x00\x63", b"\xc1\x01", b"\xc1\x01\xff\xff\xff\xff"])
def test_what_is_no_value(data: bytes) -> None:
    with pytest.raises(codec.CodecError):
        codec.decode(data)


def test_every_cut_of_a_pickle_is_seen() -> None:
    data = codec.pickled([b"x" * 10, {1, 2}])
    for length in range(2, len(data)):
        with pytest.raises(codec.CodecError):
            codec.decode(data[:length])


def test_functions_by_name_or_content() -> None:
    assert codec.function_call(math.sqrt) == {"function": "math:sqrt"}
    assert codec.function_call(Point) == {"function": f"{__name__}:Point"}
    assert codec.import_name("math:sqrt") is math.sqrt

    def local() -> int:
        return 5

    assert set(codec.function_call(local)) == {"pickle", "written_by"}
    assert set(codec.function_call(lambda: 1)) == {"pickle", "written_by"}
    for wrong in ("math", "math:", ":sqrt", "math:nosuch", "no_such_module:x"):
        with pytest.raises(codec.CodecError):
            codec.import_name(wrong)
    lock = threading.Lock()
    with pytest.raises(codec.CodecError, match="cannot be pickled"):
        codec.function_call(lambda: lock)


@pytest.mark.parametrize("size", [0, codec.LARGE, codec.LARGE + 1, 1 << 20])
def test_bytes_are_written_as_msgpack_writes_them_however_many(size):
    value = bytes(size)
    assert codec.encode(value) == msgpack.packb(value)
    assert codec.encode_arguments([value]) == msgpack.packb([[value]])
    assert codec.encode_arguments([value, 1], {"more": value}) == msgpack.packb([[value, 1], {"more": value}])
    assert codec.decode(codec.encode(value)) == value
    assert codec.decode_arguments(codec.encode_arguments([value])) == ([value], {})


def test_large_values_are_handed_over_where_they_lie():
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(100_000.0)
    for value, piece in ((bytes(1 << 20), None), (array, array)):
        parts = codec.encode_parts(value)
        assert isinstance(parts, codec.Parts)
        assert len(parts) == len(codec.encode(value)) and codec.joined(parts) == codec.encode(value)
        lying = parts.pieces[-1]
        assert lying is value if piece is None else numpy.shares_memory(numpy.frombuffer(lying), array)
        beside = codec.joined(codec.encode_beside({"dropped": 1}, parts))
        assert codec.split_beside(beside)[0] == {"dropped": 1}
        assert codec.encode(codec.decode(beside)) == codec.joined(parts)
    # What is small is in one piece.
    assert type(codec.encode_parts(b"small")) is bytes and type(codec.encode_parts({1: array[:8].view()})) is bytes
