"""A pilot for each module of tests, and one whose processes a test may end."""

import faulthandler
import subprocess

import pytest
import scalems_pilot
from meeting import Meeting
from scalems_pilot._command import command

#: No test takes so long: one that hangs says where.
HANG_S = 120


@pytest.fixture(autouse=True)
def no_hang():
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def meeting(tmp_path):
    meeting = Meeting(tmp_path)
    yield meeting
    meeting.close()


@pytest.fixture(scope="module")
def pilot():
    with scalems_pilot.local(cores=2) as pilot:
        yield pilot


@pytest.fixture(scope="module")
def ex():
    with scalems_pilot.Executor(max_workers=2) as executor:
        yield executor


@pytest.fixture
def named_pilot(tmp_path, monkeypatch):
    """The name of a pilot that was started at the shell."""
    monkeypatch.setenv("SCALEMS_HOME", str(tmp_path / "home"))

    def scalems(*words):
        subprocess.run([command(), *words], check=True, capture_output=True, timeout=HANG_S)

    scalems("pilot", "start", "--detach", "--name", "night", "--cores", "2")
    yield "night"
    scalems("pilot", "stop", "--pilot", "night")
