"""Parsl's apps on a pilot."""

import os
import subprocess
import sys

import pytest

parsl = pytest.importorskip("parsl")

from parsl.config import Config  # noqa: E402
from parsl.executors.errors import InvalidResourceSpecification, ScalingFailed  # noqa: E402
from parsl.jobs.states import JobState  # noqa: E402
from scalems_pilot.parsl import ScalemsExecutor  # noqa: E402

LONG_S = 60


@parsl.python_app
def add(a, b):
    import os

    return a + b, os.getpid()


@parsl.python_app
def fail():
    raise ValueError("as it should")


@parsl.python_app
def threads(parsl_resource_specification={}):  # As Parsl has it.
    import os

    return os.environ["OMP_NUM_THREADS"]


@parsl.bash_app
def write(text, outputs=()):
    return f"echo {text} > {outputs[0]}; pwd"


@parsl.python_app
def read(inputs=()):
    with open(inputs[0]) as file:
        return file.read()


@parsl.bash_app
def bad_line():
    return "exit 3"


def config(executor, directory):
    return Config(executors=[executor], run_dir=str(directory / "runinfo"), usage_tracking=0, strategy="none")


def test_apps_on_a_pilot_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    executor = ScalemsExecutor(max_workers=2)
    assert "max_workers=2" in repr(executor)
    with parsl.load(config(executor, tmp_path)):
        first = add(1, 2)
        both = add(first.result()[0], 3)
        assert both.result(LONG_S)[0] == 6 and both.result()[1] != os.getpid()
        with pytest.raises(ValueError, match="as it should"):
            fail().result(LONG_S)
        written = write("hello", outputs=[parsl.File(str(tmp_path / "hello"))])
        assert read(inputs=[written.outputs[0]]).result(LONG_S) == "hello\n"
        with pytest.raises(parsl.app.errors.BashExitFailure):
            bad_line().result(LONG_S)
        assert threads(parsl_resource_specification={"cores": 2}).result(LONG_S) == "2"
        with pytest.raises(InvalidResourceSpecification, match="corse"):
            threads(parsl_resource_specification={"corse": 2}).result(LONG_S)
        (state,) = executor.status().values()
        assert state.state == JobState.RUNNING and executor.outstanding() == 0
        with pytest.raises(ScalingFailed, match="worker request"):
            executor.scale_out(1)
    assert executor.status() == {} and executor.outstanding() == 0


def test_apps_on_a_pilot_by_name(named_pilot, tmp_path):
    with parsl.load(config(ScalemsExecutor("night", pilot=named_pilot, working_dir=str(tmp_path)), tmp_path)):
        assert add(20, 22).result(LONG_S)[0] == 42
        line = write("x", outputs=[parsl.File("relative")])
        assert line.result(LONG_S) == 0 and (tmp_path / "relative").read_text() == "x\n"


def test_an_executor_that_is_not_started():
    with pytest.raises(RuntimeError, match="not started"):
        ScalemsExecutor().submit(abs, {}, 1)


def test_without_parsl(tmp_path):
    script = """
import sys
sys.modules["parsl"] = None
import scalems_pilot
try:
    import scalems_pilot.parsl
except scalems_pilot.MissingPackage as error:
    assert "scalems-pilot[parsl]" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=LONG_S)
