"""The commands that come with the package."""

import pathlib
import subprocess
import sysconfig

import pytest


@pytest.mark.parametrize("name, words", [("scalems", "Usage: scalems"), ("scalems-top", "Usage: scalems top")])
def test_the_package_brings_its_commands(name: str, words: str) -> None:
    path = pathlib.Path(sysconfig.get_path("scripts")) / name
    run = subprocess.run([str(path), "--help"], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
    assert words in run.stdout


def test_the_monitor_takes_words(named_pilot) -> None:
    path = pathlib.Path(sysconfig.get_path("scripts")) / "scalems-top"
    run = subprocess.run([str(path), "--once", "--output", "json"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert '"workers"' in run.stdout
