"""Programs, arrays and control, with a real pilot."""

import os
import select
import signal

import pytest
import scalems_pilot
from scalems_pilot import PilotNotFound, Refused, SessionOver, TaskFailed, TimedOut


def test_a_program_runs(pilot):
    result = pilot.run(["sh", "-c", "echo out; echo err >&2; exit 3"], name="three", labels={"kind": "test"})
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")
    assert not result.ok and result.code == "exit_code" and result.task_id and result.attempt == 1
    assert result.host and result.wall_s >= 0


def test_a_command_line_runs_in_a_shell(pilot):
    assert pilot.run("echo $X | tr a b", env={"X": "aaa"}).stdout == "bbb\n"


def test_what_a_program_reads(pilot):
    assert pilot.run(["cat"], stdin="text").stdout == "text"


def test_check_raises_what_did_not_end_well(pilot):
    with pytest.raises(TaskFailed) as raised:
        pilot.run(["false"], check=True)
    assert raised.value.code == "exit_code"


def test_a_program_that_is_not_there(pilot):
    result = pilot.run(["no-such-program-here"])
    assert result.code == "not_started" and not result.ok


def test_retries_and_the_time_limit(pilot, tmp_path):
    line = f"test -e {tmp_path}/second || {{ touch {tmp_path}/second; exit 1; }}"
    assert pilot.run(line, retries=1).attempt == 2
    result = pilot.run(["sleep", "100"], walltime=0.2)
    assert not result.ok and result.code == "time_limit"


def test_one_after_another(pilot, tmp_path):
    first = pilot.submit(f"echo first > {tmp_path}/file")
    second = pilot.submit(["cat", f"{tmp_path}/file"], after=first)
    assert second.result(60).stdout == "first\n"
    failed = pilot.submit(["false"])
    never = pilot.submit(["true"], after=failed)
    assert never.result(60).code == "dependency_failed"
    assert pilot.submit(["true"], after=[failed], after_when="any").result(60).ok


def test_an_array(pilot):
    array = pilot.array("echo $SCALEMS_INDEX", range(10, 20, 2))
    assert array.wait(60) == {"done": 5, "failed": 0, "canceled": 0, "without_result": 0, "unfinished": 0}
    assert [array.result(index).stdout for index in array.indices] == [f"{index}\n" for index in range(10, 20, 2)]
    with pytest.raises(IndexError):
        array.result(11)
    assert len(array) == 5 and array.submission


def test_cancel_by_a_selector(pilot):
    sleeper = pilot.submit(["sleep", "100"], name="sleeper")
    pilot.wait_accepted(60)
    done = pilot.cancel("name:sleeper", "kill")
    assert sum(done.values()) == 1
    with pytest.raises(Exception):
        if not sleeper.result(60).ok:
            raise RuntimeError("canceled while it ran")


def test_waiting_has_an_end(pilot):
    array = pilot.array(["sleep", "100"], 1)
    with pytest.raises(TimedOut):
        array.wait(0.05)
    pilot.cancel("all", "kill")
    assert array.wait(60)["unfinished"] == 0


def test_run_does_not_leave_behind_what_nobody_waits_for(pilot):
    with pytest.raises(TimeoutError):
        pilot.run(["sleep", "100"], timeout=0.2, name="left")
    assert pilot._connection.wait_idle(60)


def test_what_the_pilot_says(pilot):
    assert pilot.run(["true"]).ok
    status = pilot.status()
    assert status["pilot_name"] == pilot.name and status["workers"][0] == 1
    assert len(pilot.workers()) == 1
    future = pilot.submit(["true"], name="told")
    future.result(60)
    rows = list(pilot.submissions("name:told"))
    assert len(rows) == 1 and rows[0]["name"] == "told"
    assert next(pilot.tasks(future.task_id))["state"] == "done"
    assert pilot.explain(future.task_id)["task"]["name"] == "told"
    assert "told" not in pilot._repr_html_() and pilot.name in pilot._repr_html_()


def test_events(pilot):
    events = pilot.events("workers")
    first = events.next_within(60)
    assert first.snapshot and first.kind == "workers" and len(first.body["rows"]) <= 1
    seen = []
    import threading

    came = threading.Event()
    with pilot.on_event("summary", lambda event: (seen.append(event), came.set())):
        assert came.wait(60)
    assert seen[0].kind == "summary"


def test_bad_input_is_refused_with_its_reason(pilot):
    for bad, code in (("5..6", "wrong_selector"), ("state:none", "wrong_selector")):
        with pytest.raises(Refused) as raised:
            list(pilot.tasks(bad))
        assert raised.value.code == code
    with pytest.raises(Refused):
        pilot.events("weather")
    with pytest.raises(Refused):
        pilot.cancel("all", "gently")
    with pytest.raises(TypeError, match="no option is called corse"):
        pilot.run(["true"], corse=1)
    with pytest.raises(ValueError):
        pilot.run([])
    with pytest.raises(ValueError):
        pilot.run(["true"], walltime=-1)
    with pytest.raises(TypeError, match="cores is a number"):
        pilot.run(["true"], cores="many")
    with pytest.raises(Refused, match="memory|mem_per_rank|invalid|read"):
        pilot.run(["true"], memory="much")


def test_a_pilot_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEMS_HOME", str(tmp_path))
    with pytest.raises(PilotNotFound, match="nobody"):
        scalems_pilot.connect("nobody")
    with pytest.raises(PilotNotFound):
        scalems_pilot.connect()
    with pytest.raises(PilotNotFound):
        scalems_pilot.connect(str(tmp_path / "client.json"))


def test_a_session_by_connection_file(pilot):
    with scalems_pilot.connect(pilot._session.connection_file) as other:
        assert other.name == pilot.name
        assert other.run(["echo", "x"]).stdout == "x\n"
    assert other.over


def test_a_session_in_a_forked_process(pilot):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            pilot.status()
            os.write(write, b"no error")
        except scalems_pilot.ForkedSession as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as said:
        assert "a fork does not copy" in said.read()
    assert os.waitpid(child, 0)[1] == 0
    assert pilot.run(["true"]).ok


def test_a_pilot_that_is_killed():
    with scalems_pilot.local(cores=1) as pilot:
        assert pilot.run(["true"]).ok
        future = pilot.submit(["sleep", "100"])
        pilot.wait_accepted(60)
        agent = pilot._connection._closing.__self__.pid
        worker = pilot.workers()[0]["pid"]
        gone = os.pidfd_open(worker)
        os.kill(agent, signal.SIGKILL)
        with pytest.raises(SessionOver, match="ended"):
            future.result(60)
        with pytest.raises((SessionOver, RuntimeError)):
            pilot.run(["true"])
    assert select.select([gone], [], [], 60)[0], "its worker has ended too"
    os.close(gone)


def test_nothing_is_left_running():
    with scalems_pilot.local(cores=1) as pilot:
        embedded = pilot._connection._closing.__self__
        assert pilot.run(["true"]).ok
        worker = pilot.workers()[0]["pid"]
        pilot.submit(["sleep", "100"])
        pilot.wait_accepted(60)
    assert embedded._process.returncode is not None
    assert not embedded.directory.exists()
    assert not os.path.exists(f"/proc/{worker}")
