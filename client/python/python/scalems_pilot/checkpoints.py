"""Checkpoints of a task: a directory that all attempts at it share, into which each publishes by rename."""

from __future__ import annotations

import errno
import os
import pathlib
import shutil
from typing import Tuple, Union

from .errors import ScalemsError

#: Where the directory says which attempts have used it.
_ATTEMPTS = ".attempts"


class Checkpoints:
    """The directory, as one attempt sees it. ``attempt``: the agent's life and the number; the later one is the newer."""

    def __init__(self, directory: str, attempt: Tuple[int, int]) -> None:
        self._directory = pathlib.Path(directory)
        self._attempt = attempt

    def open(self) -> pathlib.Path:
        """The directory, made if it is not there. From now on older attempts publish nothing."""
        os.makedirs(self._directory / _ATTEMPTS / "{}.{}".format(*self._attempt), exist_ok=True)
        return self._directory

    def publish(self, path: Union[str, "os.PathLike[str]"], name: str = "") -> pathlib.Path:
        """Moves a file or directory here, as ``name``, in the place of what has that name. Whoever looks finds the old one or the
        new one, whole. Raises :class:`ScalemsError` in an attempt that is not the newest."""
        source = pathlib.Path(path)
        name = name or source.name
        if not name or name.startswith(".") or "/" in name:
            raise ValueError(f"a checkpoint has a name without slashes that does not begin with a dot, not {name!r}")
        here = self.open()
        self._refuse_if_old()
        target = here / name
        before = os.readlink(target) if target.is_symlink() else None
        version = "{}.{}".format(*self._attempt)
        hidden = here / f".{name}.{version}.{os.urandom(4).hex()}"
        is_directory = source.is_dir()
        _settle(source)
        _move(source, hidden)
        if is_directory:
            link = here / f".{name}.{version}.link"
            link.unlink(missing_ok=True)
            os.symlink(hidden.name, link)
            os.replace(link, target)
        else:
            os.replace(hidden, target)
        _sync(here)
        if before is not None and before.startswith(f".{name}.") and before != hidden.name:
            shutil.rmtree(here / before, ignore_errors=True)
        return target

    def _refuse_if_old(self) -> None:
        known = (entry.split(".") for entry in os.listdir(self._directory / _ATTEMPTS))
        newest = max((int(life), int(number)) for life, number in known)
        if newest > self._attempt:
            raise ScalemsError(
                f"attempt {self._attempt[1]} publishes nothing into {self._directory}: attempt {newest[1]} has begun since, and this one "
                "counts as lost",
                "superseded",
            )


def _settle(path: pathlib.Path) -> None:
    """What was written is on disk before it gets its name."""
    if path.is_dir():
        for entry in path.iterdir():
            if not entry.is_symlink():
                _settle(entry)
    _sync(path)


def _sync(path: pathlib.Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        # Some file systems have no way to sync a directory.
        if error.errno not in (errno.EINVAL, errno.EBADF):
            raise
    finally:
        os.close(number)


def _move(source: pathlib.Path, target: pathlib.Path) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # From another file system: a copy, which gets its name once it is whole.
        shutil.move(str(source), str(target))
        _settle(target)
