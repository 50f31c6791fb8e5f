"""The control messages of SCALE-MS's radical.pilot runtime: ``hello``, ``stop``, ``version`` and ``add_item``.

A message is ``{"command": NAME}`` or ``{"add_item": ITEM}``; before August 2023 the first was ``{"control": NAME}``, and an item
was JSON text. An item is a *work item*, a function with its arguments, or a *data node*, an operation with its input.
"""

from __future__ import annotations

import json
import zlib
from typing import Any, Dict, Mapping, Union

import msgpack

__all__ = ["WrongMessage", "item_id", "read"]

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
