"""The recipes of the guide run as they are."""

import pathlib
import re
import subprocess
import sys

import pytest

GUIDE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "guide" / "python.md"
RECIPES = re.findall(r"^### (\d+)\. ([^\n]*)\n.*?```python\n(.*?)```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
SECTION = GUIDE.read_text().partition("\n## With other packages\n")[2].partition("\n## ")[0]
OTHERS = re.findall(r"^### ([^\n]*)\n.*?```python\n(.*?)```", SECTION, re.MULTILINE | re.DOTALL)


def test_there_are_ten_and_those_inside_a_function():
    assert [int(number) for number, _, _ in RECIPES] == list(range(1, 14))


def run(tmp_path, title, text):
    script = tmp_path / "recipe.py"
    script.write_text(text)
    ran = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=110)
    assert ran.returncode == 0, f"{title}: {ran.stdout}{ran.stderr}"


@pytest.mark.parametrize("number, title, text", RECIPES, ids=[number for number, _, _ in RECIPES])
def test_a_recipe(tmp_path, number, title, text):
    run(tmp_path, title, text)


def test_each_package_has_an_example():
    assert len(OTHERS) == SECTION.count("\n### ") == 8


@pytest.mark.parametrize("title, text", OTHERS, ids=[title.split()[0].strip(",") for title, _ in OTHERS])
def test_an_example_with_other_packages(tmp_path, title, text):
    for name in re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE):
        pytest.importorskip(name)
    run(tmp_path, title, text)
