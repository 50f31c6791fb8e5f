"""What was written for RADICAL-Pilot and SCALE-MS runs on a real pilot."""

import json
import os
import sys

import msgpack
import pytest
from meeting import LONG_S, until
from scalems_pilot import Refused, TimedOut
from scalems_pilot.compat import cpi, rp

#: All that a description of RADICAL-Pilot has when nothing was said.
DEFAULTS = {
    "uid": "",
    "name": "",
    "mode": "task.executable",
    "executable": "",
    "arguments": [],
    "environment": {},
    "named_env": "",
    "sandbox": "",
    "pre_launch": [],
    "pre_exec": [],
    "pre_exec_sync": False,
    "post_exec": [],
    "post_launch": [],
    "stdout": "",
    "stderr": "",
    "input_staging": [],
    "output_staging": [],
    "stage_on_error": False,
    "priority": 0,
    "ranks": 1,
    "cores_per_rank": 1,
    "gpus_per_rank": 0.0,
    "lfs_per_rank": 0,
    "mem_per_rank": 0,
    "threading_type": "",
    "gpu_type": "",
    "use_mpi": None,
    "timeout": 0.0,
    "startup_timeout": 0.0,
    "cleanup": False,
    "pilot": "",
    "slots": [],
    "partition": None,
    "restartable": False,
    "tags": {},
    "services": [],
    "metadata": {},
    "raptor_id": "",
    "raptor_file": "",
    "raptor_class": "",
    "function": None,
    "args": [],
    "kwargs": {},
    "code": "",
    "command": "",
}


class Description:
    """As rp.TaskDescription: its fields are those that there are, and as_dict() has them all."""

    def __init__(self, fields):
        self._fields = fields

    def as_dict(self):
        return {**DEFAULTS, **self._fields}


def triple(number, plus=0):
    return 3 * number + plus


def test_programs_and_shells(pilot, tmp_path):
    tasks = rp.submit(
        pilot,
        [
            {"uid": "task.0001", "name": "greet", "executable": "/bin/echo", "arguments": ["hello", 1], "metadata": {"any": [1]}},
            {"mode": "task.shell", "command": "echo $WHO | tr a-z A-Z", "environment": {"WHO": "you"}},
            {"mode": "task.proc", "executable": "pwd", "sandbox": str(tmp_path)},
            {"executable": "sh", "arguments": ["-c", "echo oh >&2; exit 3"], "tags": {"kind": "bad"}},
            {"executable": "cat", "arguments": ["made"], "pre_exec": ["echo before > made"], "sandbox": str(tmp_path)},
            Description({"executable": "true", "ranks": 1, "cores_per_rank": 2, "threading_type": "OpenMP", "lfs_per_rank": 1}),
        ],
    )
    assert rp.wait(tasks, LONG_S) == ["DONE", "DONE", "DONE", "FAILED", "DONE", "DONE"]
    assert [task.stdout for task in tasks[:3]] == ["hello 1\n", "YOU\n", f"{tmp_path}\n"]
    assert (tasks[0].uid, tasks[0].name, tasks[0].exit_code, tasks[0].exception) == ("task.0001", "greet", 0, None)
    bad = tasks[3]
    assert (bad.exit_code, bad.stderr, bad.state) == (3, "oh\n", "FAILED") and "exit_code" in bad.exception
    assert bad.uid == bad.future.task_id and list(pilot.tasks("label:kind=bad"))
    assert tasks[4].stdout == "before\n"
    record = tasks[0].as_dict()
    assert record["type"] == "task" and record["state"] == "DONE" and record["description"]["executable"] == "/bin/echo"
    assert tasks[5].description["startup_timeout"] == 0.0


def test_calls(pilot):
    tasks = rp.submit(
        pilot,
        [
            {"mode": "task.function", "function": "math.sqrt", "args": [9]},
            {"mode": "task.function", "function": triple, "args": [2], "kwargs": {"plus": 1}},
            {"mode": "task.eval", "code": "6 * number", "kwargs": {"number": 7}},
            {"mode": "task.exec", "code": "print('said'); result = [1, 2]"},
            {"mode": "task.method", "method": "builtins.str.upper", "args": ["up"]},
            {"mode": "task.function", "function": lambda: 1 / 0},
        ],
    )
    states = rp.wait(tasks, LONG_S)
    assert [task.return_value for task in tasks] == [3.0, 7, 42, [1, 2], "UP", None], [task.exception for task in tasks]
    assert states == ["DONE"] * 5 + ["FAILED"]
    assert tasks[3].stdout == "said\n" and tasks[0].exit_code == 0
    bad = tasks[-1]
    assert bad.exit_code == 1 and bad.exception.startswith("ZeroDivisionError") and "division" in bad.exception_detail


def test_calls_run_on_an_executor_too(ex):
    (task,) = rp.submit(ex, {"mode": "task.function", "function": os.getpid})
    assert task.wait(LONG_S) == "DONE" and task.return_value != os.getpid()


def test_the_states_of_a_task(pilot, tmp_path):
    os.mkfifo(tmp_path / "began")
    (running,) = rp.submit(pilot, {"mode": "task.shell", "command": f"echo > {tmp_path}/began; sleep 1000"})
    (tmp_path / "began").read_text()
    (waiting,) = rp.submit(pilot, {"executable": "true", "cores_per_rank": 2})
    pilot.wait_accepted(LONG_S)
    until(lambda: running.state == "AGENT_EXECUTING")
    assert waiting.state in ("AGENT_SCHEDULING", "AGENT_EXECUTING_PENDING")
    with pytest.raises(TimedOut, match="has not ended"):
        running.wait(0.01)
    assert running.exit_code is None and running.return_value is None and running.exception is None
    running.cancel()
    assert rp.wait([running, waiting], LONG_S) == ["CANCELED", "DONE"]


def test_nothing_is_submitted_if_one_of_them_cannot_be_followed(pilot):
    before = len(list(pilot.submissions()))
    with pytest.raises(rp.UnsupportedDescription, match="input_staging"):
        rp.submit(pilot, [{"executable": "true"}, {"executable": "true", "input_staging": ["a > b"]}])
    with pytest.raises(TypeError, match="as_dict"):
        rp.submit(pilot, ["true"])
    assert len(list(pilot.submissions())) == before


def test_what_the_pilot_refuses_is_the_end_of_the_task(pilot):
    first, second = rp.submit(pilot, [{"uid": "twice", "executable": "true"}, {"uid": "twice", "executable": "true"}])
    assert first.wait(LONG_S) == "DONE" and second.wait(LONG_S) == "FAILED"
    assert isinstance(second.future.exception(), Refused) and "duplicate_uid" in repr(second.future.exception().code)


WORK = {"func": "sqrt", "module": "math", "args": [2.25], "kwargs": {}, "comm_arg_name": None}


def test_hello_and_version(pilot):
    control = cpi.Control(pilot)
    assert pilot.run(["true"]).ok, "a worker has joined"
    hello = control.answer({"command": "hello"})
    assert hello["exit_code"] == 0 and hello["return_value"]["pilot"] == pilot.name
    assert "task.function" in hello["return_value"]["modes"]
    assert control.answer({"control": "version"})["return_value"] == hello["return_value"]["version"]


def test_a_work_item(pilot):
    control = cpi.Control(pilot)
    for item in (json.dumps(WORK), msgpack.packb(WORK), WORK):
        answer = control.answer({"add_item": item})
        assert answer["exit_code"] == 0, answer
        assert control.items[answer["return_value"]].result(LONG_S) == 1.5
    assert control.answer({"add_item": json.dumps(WORK)})["return_value"] == cpi.item_id(json.dumps(WORK))
    assert len(control.items) == 2, "the same bytes are the same item"


def test_a_data_node(pilot, tmp_path, monkeypatch):
    numpy = pytest.importorskip("numpy")
    package = tmp_path / "scalems"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "details.py").write_text(
        "import numpy\n\n\ndef read_npz_file(path):\n"
        "    with numpy.load(path) as data:\n        return {name: data[name] for name in data}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    numpy.savez(tmp_path / "conf.npz", x=numpy.arange(3.0))
    node = {
        "uid": "5f3a",
        "operation": ["scalems", "details", "read_npz_file"],
        "input": {"path": str(tmp_path / "conf.npz")},
    }
    control = cpi.Control(pilot)
    name = control.answer({"add_item": json.dumps(node)})["return_value"]
    read = control.items[name].result(LONG_S)
    assert list(read) == ["x"] and read["x"].tolist() == [0.0, 1.0, 2.0]
    assert "scalems" not in sys.modules, "it is imported where it runs"


def test_stop_drains_and_a_second_one_ends(pilot, meeting):
    item = json.dumps({**WORK, "func": "until_asked", "module": "meeting", "args": [meeting.came]})
    control = cpi.Control(pilot)
    name = control.answer({"add_item": item})["return_value"]
    meeting.arrived()
    first = control.answer({"command": "stop"})
    assert first["exit_code"] == 0 and "1 items have not ended" in first["stdout"]
    refused = control.answer({"add_item": WORK})
    assert refused["exit_code"] == 1 and "stopping" in refused["exception"] and refused["return_value"] is None
    assert control.answer({"add_item": item})["return_value"] == name, "it was added before"
    assert not control.items[name].done()
    assert "1 items are asked to end" in control.answer({"command": "stop"})["stdout"]
    assert control.items[name].result(LONG_S) == "asked"
    assert "0 items" in control.answer({"command": "stop"})["stdout"]


def test_what_is_no_message_is_answered_with_why(pilot):
    answer = cpi.Control(pilot).answer({"command": "dance"})
    assert answer["exit_code"] == 1 and "hello" in answer["stderr"] and answer["exception"].startswith("WrongMessage")
