"""What was written for other systems is taken as it is meant, or refused by name."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from scalems_pilot.compat import cpi, rp

WORK = {"func": "sqrt", "module": "math", "args": [2], "kwargs": {}, "comm_arg_name": None}
NODE = {"uid": "5f3a", "operation": ["scalems", "details", "read_npz_file"], "input": {"path": "conf.npz"}}


def test_a_program_of_radical_pilot() -> None:
    made = rp.envelope(
        {
            "uid": "task.0001",
            "name": "",
            "executable": "gmx",
            "arguments": ["mdrun", "-nt", 1],
            "ranks": 2,
            "cores_per_rank": 4,
            "gpus_per_rank": 0.5,
            "mem_per_rank": 1000,
            "environment": {"OMP_NUM_THREADS": 4},
            "sandbox": "/scratch/run",
            "stdout": "out.log",
            "timeout": 1.5,
            "priority": 3,
            "restartable": True,
            "tags": {"colocate": "a"},
            "metadata": {"any": [1]},
            "raptor_id": "r.0",
            "input_staging": [],
            "named_env": None,
        }
    )
    assert made == {
        "mode": "task.executable",
        "data": {
            "argv": ["gmx", "mdrun", "-nt", "1"],
            "env": {"OMP_NUM_THREADS": "4"},
            "cwd": "/scratch/run",
            "stdout": "out.log",
        },
        "needs": {"ranks": 2, "cores_per_rank": 4, "gpus_per_rank": 0.5, "mem_per_rank": 1000},
        "policy": {"priority": 3, "time_limit_ms": 1500, "retries": 1},
        "uid": "task.0001",
        "labels": {"colocate": "a"},
        "meta": {"any": [1]},
    }


def test_what_is_done_before_and_after() -> None:
    made = rp.envelope({"executable": "./run it", "pre_exec": ["module load gmx"]})
    assert made["data"]["argv"] == ["/bin/sh", "-c", "set -e\nmodule load gmx\nexec './run it'"]
    made = rp.envelope({"mode": "task.shell", "command": "a | b", "post_exec": ["touch done"]})
    assert made["data"]["argv"] == ["set -e\na | b\ntouch done"]


def test_calls_of_radical_pilot() -> None:
    made = rp.envelope({"mode": "task.function", "function": "math.sqrt", "args": [4]})
    assert made == {"mode": "task.function", "data": {"function": "math:sqrt", "args": [4]}}
    made = rp.envelope({"mode": "task.function", "function": json.dumps, "kwargs": {"obj": 1}})
    assert made["data"] == {"function": "json:dumps", "kwargs": {"obj": 1}}
    made = rp.envelope({"mode": "task.method", "method": "package.module.Class.run", "args": [1]})
    assert made["data"] == {"function": "package.module:Class.run", "args": [1]}
    made = rp.envelope({"mode": "task.eval", "code": "1 + 1", "named_env": "science"})
    assert made["data"] == {"code": "1 + 1", "python": "science"}
    made = rp.envelope({"mode": "task.executable", "executable": "x", "cpu_processes": 3, "cpu_threads": 2, "gpu_processes": 1})
    assert made["needs"] == {"ranks": 3, "cores_per_rank": 2, "gpus_per_rank": 1}
    made = rp.envelope({"executable": "x", "ranks": 2, "use_mpi": True, "lfs_per_rank": 100, "threading_type": "OpenMP"})
    assert made["needs"] == {"ranks": 2, "named": {"disk": 200}}


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ({}, "executable"),
        ({"executable": "x", "input_staging": [{"source": "a"}]}, "input_staging"),
        ({"executable": "x", "nonsense": 1}, "nonsense"),
        ({"executable": "x", "arguments": "a b"}, "arguments"),
        ({"executable": "x", "ranks": "many"}, "ranks"),
        ({"executable": "x", "cores_per_rank": -1}, "cores_per_rank"),
        ({"executable": "x", "timeout": "soon"}, "timeout"),
        ({"executable": "x", "priority": "high"}, "priority"),
        ({"executable": "x", "startup_timeout": 5}, "startup_timeout"),
        ({"mode": "raptor.master"}, "raptor.master"),
        ({"mode": "task.function", "function": "gASVpickled"}, "pickled text"),
        ({"mode": "task.exec"}, "code"),
        ({"mode": "task.shell"}, "command"),
        ({"executable": "x", "environment": ["A=1"]}, "environment"),
        ({"mode": "task.service", "executable": "x"}, "task.service"),
        ({"executable": "x", "use_mpi": True}, "use_mpi"),
        ({"executable": "x", "use_mpi": False, "ranks": 2}, "use_mpi"),
        ({"executable": "x", "threading_type": "green"}, "threading_type"),
        ({"executable": "x", "lfs_per_rank": -1}, "lfs_per_rank"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(description: Any, said: str) -> None:
    with pytest.raises(rp.UnsupportedDescription, match=said):
        rp.envelope(description)


def test_commands_of_the_lineage() -> None:
    for command in ("hello", "stop", "version"):
        assert cpi.read({"command": command}) == command
    assert cpi.read({"control": "hello"}) == "hello"


@pytest.mark.parametrize("write", [lambda item: item, json.dumps, msgpack.packb, lambda item: json.dumps(item).encode()])
def test_items_of_the_lineage(write: Any) -> None:
    assert cpi.read({"add_item": write(WORK)}) == {
        "mode": "task.function",
        "data": {"function": "math:sqrt", "args": [2], "kwargs": {}},
    }
    assert cpi.read({"add_item": write(NODE)}) == {
        "mode": "task.function",
        "data": {"function": "scalems.details:read_npz_file", "kwargs": {"path": "conf.npz"}},
        "uid": "5f3a",
    }
    for comm, ours in (("", True), ("comm", "comm")):
        made = cpi.read({"add_item": write({**WORK, "comm_arg_name": comm})})
        assert made["data"]["comm"] == ours  # type: ignore[index]


def test_an_item_has_an_id() -> None:
    text = json.dumps(WORK)
    assert cpi.item_id(text) == cpi.item_id(text.encode()) and cpi.item_id(text).startswith("scalems-task-")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({}, "one of"),
        ({"command": "dance"}, "hello"),
        ({"command": "hello", "add_item": WORK}, "one of"),
        ({"item": 1}, "command or add_item"),
        ({"add_item": "{"}, "JSON"),
        ({"add_item": b"\xc1"}, "msgpack"),
        ({"add_item": 5}, "map"),
        ({"add_item": {"func": "f", "module": "m"}}, "lacks args, comm_arg_name, kwargs"),
        ({"add_item": {**WORK, "more": 1}}, "has more"),
        ({"add_item": {**WORK, "args": 1}}, "list"),
        ({"add_item": {"operation": "x"}}, "operation"),
        ({"add_item": {**NODE, "more": 1}}, "has more"),
    ],
)
def test_what_is_no_message_of_theirs(message: Any, said: str) -> None:
    with pytest.raises(cpi.WrongMessage, match=said):
        cpi.read(message)
