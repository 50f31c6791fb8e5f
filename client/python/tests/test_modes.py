"""Modes that users register, and filters, from Python."""

import pathlib
import re
import subprocess
import sys
import threading

import pytest
import scalems_pilot
from scalems_pilot import Executor, codec, filter

GUIDE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "guide" / "modes-and-filters.md"
RECIPES = re.findall(r"^### (\d+)\. ([^\n]*)\n.*?```python\n(.*?)```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def test_there_are_two():
    assert [int(number) for number, _, _ in RECIPES] == [1, 2]


@pytest.mark.parametrize("number, title, text", RECIPES, ids=[number for number, _, _ in RECIPES])
def test_a_recipe(tmp_path, number, title, text):
    script = tmp_path / "recipe.py"
    script.write_text(text)
    ran = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=110)
    assert ran.returncode == 0, f"{title}: {ran.stdout}{ran.stderr}"


@pytest.mark.parametrize("name", ["", "task.mine", "scalems.mine", "a b", "a/b", "x" * 257, 7])
def test_names_that_no_mode_may_have(name):
    with pytest.raises(ValueError, match="no name for a mode"):
        scalems_pilot.mode(name)


def test_a_mode_is_registered_once():
    def one(data):
        return data

    def other(data):
        return data

    assert scalems_pilot.mode("test.once")(one) is one
    assert scalems_pilot.mode("test.once")(one) is one
    with pytest.raises(ValueError, match="registered twice"):
        scalems_pilot.mode("test.once")(other)
    with pytest.raises(TypeError):
        scalems_pilot.mode("test.nothing")(7)


def test_what_is_not_for_modes(ex):
    with pytest.raises(ValueError, match="env is not for mode"):
        ex.options(env={"A": "b"}).mode("lab.fold")
    with pytest.raises(codec.CodecError):
        ex.mode("lab.fold")(threading.Lock()).result(60)
    with pytest.raises(ValueError, match="pilot of one's own"):
        Executor("some", mode_modules=["x"])




def test_what_a_filter_says_by_itself():
    task = filter.Task.new("lab.fold", [1, 2], name="fold", labels={"a": "b"})
    assert (task.read(), task.mode, task.name, task.labels) == ([1, 2], "lab.fold", "fold", {"a": "b"})
    other = task.copy()
    other.write(3)
    other.needs["cores_per_rank"] = 2
    assert (task.read(), "needs" in task.template) == ([1, 2], False)
    plain = filter.Filter()
    assert plain.task(task) is task
    result = filter.Result.of({"x": 1})
    assert plain.result(task, [result]) is result and result.ok and result.read() == {"x": 1}
    with pytest.raises(TypeError, match="2 tasks ran"):
        plain.result(task, [result, result])
