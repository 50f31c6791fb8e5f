"""The control messages of SCALE-MS's radical.pilot runtime: ``hello``, ``stop``, ``version`` and ``add_item``.

A message is ``{"command": NAME}`` or ``{"add_item": ITEM}``; before August 2023 the first was ``{"control": NAME}``, and an item
was JSON text. An item is a *work item*, a function with its arguments, or a *data node*, an operation with its input.
:func:`read` tells what a message means, :class:`Control` does it on a pilot.
"""

from __future__ import annotations

import importlib.metadata
import json
import weakref
import zlib
from typing import TYPE_CHECKING, Any, Dict, Mapping, Union

import msgpack

from .. import codec
from ..errors import ScalemsError

if TYPE_CHECKING:
    from ..future import Future
    from ._submitting import Where

__all__ = ["Control", "WrongMessage", "item_id", "read"]

COMMANDS = ("hello", "stop", "version")
WORK_ITEM = {"func", "module", "args", "kwargs", "comm_arg_name"}


class WrongMessage(ValueError):
    """A message that is none of theirs."""


def read(message: Mapping[str, Any]) -> Union[str, Dict[str, Any]]:
    """The command that a message has, or the envelope of the item that it adds. Raises :class:`WrongMessage`.

    >>> read({"command": "hello"})
    'hello'
    """
    keys = set(message)
    if len(keys) != 1:
        raise WrongMessage(f"a message has one of command and add_item, not {sorted(keys)}")
    (key,) = keys
    value = message[key]
    if key in ("command", "control"):
        if value not in COMMANDS:
            raise WrongMessage(f"{value!r} is none of {', '.join(COMMANDS)}")
        return str(value)
    if key != "add_item":
        raise WrongMessage(f"a message has command or add_item, not {key!r}")
    item = _item(value)
    return _work(item) if "func" in item else _node(item)


def item_id(item: Union[bytes, str]) -> str:
    """The id by which SCALE-MS knows an added item: made of its bytes."""
    data = item.encode() if isinstance(item, str) else item
    return f"scalems-task-{zlib.crc32(data)}"


class Control:
    """Does on a pilot what the control messages say, and answers them as their runtime does.

    An answer has ``stdout, stderr, exit_code, return_value, exception``. What an added item comes to is in :attr:`items`.
    """

    def __init__(self, where: "Where") -> None:
        self._where = where
        #: The futures of what was added, by id. What is taken out of it is forgotten.
        self.items: Dict[str, "Future"] = {}
        self._written: "weakref.WeakKeyDictionary[Future, bytes]" = weakref.WeakKeyDictionary()
        #: Whether a stop was heard: nothing is added any more.
        self.stopping = False

    def answer(self, message: Mapping[str, Any]) -> Dict[str, Any]:
        """Does what a message says. What it cannot do is in the answer: ``exit_code`` is 1, and ``exception`` says why."""
        try:
            said = read(message)
            if said == "hello":
                return _answer(self._hello())
            if said == "version":
                return _answer(_version())
            if said == "stop":
                return _answer(None, self._stop())
            assert not isinstance(said, str), "invariant: read knows no further command"
            return _answer(self._add(message["add_item"], said))
        except (WrongMessage, ScalemsError, codec.CodecError) as error:
            return {**_answer(None), "stderr": str(error), "exit_code": 1, "exception": repr(error)}

    def _hello(self) -> Dict[str, Any]:
        status = msgpack.unpackb(self._where._connection.session.status())
        return {"name": "scalems", "version": _version(), "pilot": status["pilot_name"], "modes": status["modes"]}

    def _add(self, item: Any, envelope: Mapping[str, Any]) -> str:
        from ._submitting import submit

        written = _written(item)
        name = item_id(written)
        before = self.items.get(name)
        if before is None:
            if self.stopping:
                raise WrongMessage("it is stopping, and takes no more items")
            self.items[name] = future = submit(self._where, envelope)
            self._written[future] = written
        elif self._written[before] != written:
            raise WrongMessage(f"another item has the id {name} already: change something in this one, such as its label")
        return name

    def _stop(self) -> str:
        open_items = [future for future in self.items.values() if not future.done()]
        if not self.stopping:
            self.stopping = True
            return f"stopping: {len(open_items)} items have not ended, and go on; a further stop ends them"
        for future in open_items:
            future.request_cancel("a second stop")
        return f"stopping: {len(open_items)} items are asked to end"


def _answer(value: Any, stdout: str = "") -> Dict[str, Any]:
    return {"stdout": stdout, "stderr": "", "exit_code": 0, "return_value": value, "exception": None}


def _version() -> str:
    return importlib.metadata.version("scalems-pilot")


def _written(item: Any) -> bytes:
    """The bytes of an item: its own, or those of a map."""
    if isinstance(item, str):
        return item.encode()
    return bytes(item) if isinstance(item, (bytes, bytearray)) else codec.encode(dict(item))


def _item(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise WrongMessage(f"an item is JSON text: {error}") from error
    elif isinstance(value, (bytes, bytearray)):
        try:
            value = json.loads(value) if value[:1] == b"{" else msgpack.unpackb(value)
        except (ValueError, msgpack.UnpackException) as error:
            raise WrongMessage(f"an item is JSON text or msgpack: {error}") from error
    if not isinstance(value, Mapping):
        raise WrongMessage("an item is a map")
    return value


def _work(item: Mapping[str, Any]) -> Dict[str, Any]:
    missing, further = WORK_ITEM - set(item), set(item) - WORK_ITEM
    if missing or further:
        said = [f"lacks {', '.join(sorted(missing))}"] if missing else []
        said += [f"has {', '.join(sorted(further))}, which is unknown"] if further else []
        raise WrongMessage(f"a work item {' and '.join(said)}")
    args, kwargs, comm = item["args"], item["kwargs"], item["comm_arg_name"]
    if not isinstance(args, (list, tuple)) or not isinstance(kwargs, Mapping):
        raise WrongMessage("a work item's args are a list and its kwargs a map")
    data: Dict[str, Any] = {"function": f"{item['module']}:{item['func']}", "args": list(args), "kwargs": dict(kwargs)}
    if comm is not None:
        # Nothing: it is not passed; an empty name: the first argument; else by name.
        data["comm"] = True if comm == "" else str(comm)
    return {"mode": "task.function", "data": data}


def _node(item: Mapping[str, Any]) -> Dict[str, Any]:
    operation = item.get("operation")
    is_path = isinstance(operation, (list, tuple)) and len(operation) > 1
    if not is_path or not all(isinstance(part, str) and part for part in operation):  # type: ignore[union-attr]
        raise WrongMessage("a data node's operation is a list: the parts of a module's name, and a function")
    further = set(item) - {"uid", "operation", "input", "label", "type", "shape"}
    if further:
        raise WrongMessage(f"a data node has {', '.join(sorted(further))}, which is unknown")
    *module, function = operation  # type: ignore[misc]
    given = item.get("input")
    data: Dict[str, Any] = {"function": f"{'.'.join(module)}:{function}"}
    if isinstance(given, Mapping):
        data["kwargs"] = dict(given)
    elif given is not None:
        data["args"] = list(given) if isinstance(given, (list, tuple)) else [given]
    made: Dict[str, Any] = {"mode": "task.function", "data": data}
    for field, ours in (("uid", "uid"), ("label", "name")):
        if item.get(field) is not None:
            made[ours] = str(item[field])
    return made
