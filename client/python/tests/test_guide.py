"""The recipes of the guide run as they are."""

import pathlib
import re
import subprocess
import sys

import pytest

GUIDE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "guide" / "python.md"
RECIPES = re.findall(r"^### (\d+)\. ([^\n]*)\n.*?```python\n(.*?)```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def test_there_are_ten():
    assert [int(number) for number, _, _ in RECIPES] == list(range(1, 11))


@pytest.mark.parametrize("number, title, text", RECIPES, ids=[number for number, _, _ in RECIPES])
def test_a_recipe(tmp_path, number, title, text):
    script = tmp_path / "recipe.py"
    script.write_text(text)
    ran = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=110)
    assert ran.returncode == 0, f"{title}: {ran.stdout}{ran.stderr}"
