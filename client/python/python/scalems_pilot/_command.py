"""The ``scalems`` command that comes with the package."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
from typing import List

from .errors import ScalemsError

#: Names another binary than the one in the package.
VARIABLE = "SCALEMS_BIN"


def command() -> str:
    """The path of the command: ``SCALEMS_BIN``, else the one in this package, else the one in ``PATH``."""
    named = os.environ.get(VARIABLE)
    if named:
        return named
    own = pathlib.Path(__file__).with_name("bin") / "scalems"
    if own.is_file():
        return str(own)
    found = shutil.which("scalems")
    if found and pathlib.Path(found).resolve().parent != pathlib.Path(sys.executable).resolve().parent:
        return found
    raise ScalemsError(
        f"the scalems command is not at {own}: install the package with pip, or name the command in {VARIABLE}"
    )


def main() -> None:
    """Becomes the command, with this process's arguments."""
    _become([])


def top() -> None:
    """Becomes the live monitor."""
    _become(["top"])


def _become(first: List[str]) -> None:
    path = command()
    try:
        os.execv(path, ["scalems", *first, *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"scalems: cannot run {path}: {error.strerror}")
