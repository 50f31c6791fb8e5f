"""Bars, in a real terminal and without one, and what notebooks show."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
import scalems_pilot
from scalems_pilot import Executor, progress
from scalems_pilot._progress import Bar, length

LONG_S = 60
SCRIPT = """
import scalems_pilot
with scalems_pilot.Executor(max_workers=2) as ex:
    results = ex.map(divmod, range(10), [1] * 9 + [0], progress=True)
    for _ in range(9):
        next(results)
    try:
        next(results)
    except ZeroDivisionError:
        pass
"""


def text_of(terminal):
    """All that was written to a terminal until its other side was closed."""
    data = b""
    while True:
        try:
            read = os.read(terminal, 65_536)
        except OSError:  # Nobody has it open any more.
            break
        if not read:
            break
        data += read
    return data.decode(errors="replace")


def test_a_bar_in_a_terminal(tmp_path):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    ran = subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=tmp_path, stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    said = text_of(ours)
    os.close(ours)
    assert ran.wait(LONG_S) == 0
    assert "10/10" in said and "1 failed" in said and "tasks/s" in said


def test_nothing_is_shown_where_there_is_no_terminal(tmp_path):
    ran = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=LONG_S)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_a_bar_where_it_is_asked_for(ex, capsys):
    assert list(ex.map(abs, range(7), chunksize=3, progress="always")) == list(range(7))
    assert "7/7" in capsys.readouterr().err
    assert list(ex.map(abs, iter(range(7)), chunksize=3, progress="always")) == list(range(7))
    assert re.search(r"\b7 tasks", capsys.readouterr().err), "nobody could know how many there are"
    assert list(ex.map(abs, range(3), progress=True)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_futures_as_they_end(ex, pilot, capsys):
    good, bad = ex.submit(abs, -1), ex.submit(int, "seven")
    programs = [pilot.submit(["true"]), pilot.submit(["false"])]
    ended = list(progress([good, bad, good, *programs], label="steps \x1b[2J", show=True))
    assert set(ended) == {good, bad, *programs} and len(ended) == 4
    said = capsys.readouterr().err
    assert "4/4" in said and "2 failed" in said and "steps ?[2J" in said
    assert list(progress([good])) == [good] and capsys.readouterr().err == ""


def test_an_array_is_waited_for_with_a_bar(pilot, capsys):
    array = pilot.array("test $SCALEMS_INDEX -lt 18", 20)
    assert array.wait(LONG_S, progress="always")["failed"] == 2
    said = capsys.readouterr().err
    assert "20/20" in said and "2 failed" in said
    sleeper = pilot.array(["sleep", "1000"], 1)
    with pytest.raises(scalems_pilot.TimedOut):
        sleeper.wait(0.05, progress=True)
    pilot.cancel("all", "kill")
    assert sleeper.wait(LONG_S, progress=True)["unfinished"] == 0


def test_a_bar_that_ends_early_stays_as_it_is(capsys):
    with Bar(5, show=True) as bar:
        bar.count(2)
    bar.count(2)
    assert "2/5" in capsys.readouterr().err and bar.ended == 4


def test_how_many_items_there_are():
    assert length([range(5), [1, 2, 3]]) == 3
    assert length([range(5), iter([1])]) is None


def test_without_tqdm(tmp_path):
    script = """
import sys
sys.modules["tqdm"] = None
import scalems_pilot
assert list(scalems_pilot.progress([])) == []
try:
    scalems_pilot.progress([], show=True)
except scalems_pilot.MissingPackage as error:
    assert isinstance(error, ImportError) and "scalems-pilot[progress]" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=LONG_S)


HOSTILE = "<script>alert('x')</script>"


def test_what_notebooks_show(pilot):
    result = pilot.run(["printf", HOSTILE])
    for thing in (result, pilot.submit(["false"]), pilot, pilot.array(["true"], 1)):
        assert "<script" not in thing._repr_html_() and thing._repr_html_().startswith("<b>")
    assert "&lt;script&gt;" in result._repr_html_() and "exit code" in result._repr_html_()
    assert pilot.name in pilot._repr_html_() and "cores" in pilot._repr_html_()


def test_what_notebooks_show_of_an_executor_and_its_futures():
    with Executor(max_workers=1, name=HOSTILE) as ex:
        failed = ex.submit(int, HOSTILE)
        failed.exception(LONG_S)
        assert ex.pilot in ex._repr_html_() and "&lt;script&gt;" in ex._repr_html_()
        for thing in (ex, failed):
            assert "<script" not in thing._repr_html_()
        assert "ValueError" in failed._repr_html_()
    assert "takes nothing more" in ex._repr_html_() or ex.pilot in ex._repr_html_()
