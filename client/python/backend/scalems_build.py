"""The build backend: maturin's, and before it the scalems command, which goes into the wheel.

``SCALEMS_BUILD_PROFILE=dev``, or the config setting ``profile=dev``, builds without optimization, with what a build of the
workspace left behind.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any, Dict, List, Optional

import maturin
from maturin import (  # noqa: F401  the hooks that are maturin's alone
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

HERE = pathlib.Path(__file__).resolve().parent.parent
Settings = Optional[Dict[str, Any]]

# maturin's hooks start it by its name. Without build isolation it lies beside this Python, wherever PATH leads to.
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])


def build_wheel(directory: str, config_settings: Settings = None, metadata_directory: Optional[str] = None) -> str:
    """A wheel with the command inside."""
    place_command(profile(config_settings))
    return maturin.build_wheel(directory, with_profile(config_settings), metadata_directory)


def build_editable(directory: str, config_settings: Settings = None, metadata_directory: Optional[str] = None) -> str:
    """The same for a package that is used where it lies."""
    place_command(profile(config_settings))
    return maturin.build_editable(directory, with_profile(config_settings), metadata_directory)


def profile(settings: Settings) -> str:
    """Cargo's profile: release, unless told otherwise."""
    said = (settings or {}).get("profile") or os.environ.get("SCALEMS_BUILD_PROFILE") or "release"
    return "dev" if said == "debug" else str(said)


def with_profile(settings: Settings) -> Dict[str, Any]:
    """Settings by which maturin builds with that profile."""
    settings = dict(settings or {})
    chosen = profile(settings)
    settings.pop("profile", None)
    given = settings.get("build-args", [])
    words: List[str] = given.split() if isinstance(given, str) else list(given)
    settings["build-args"] = " ".join([*words, "--profile", chosen])
    return settings


def place_command(chosen: str) -> None:
    """Builds the command in the workspace's target directory, and puts a stripped copy into the package."""
    workspace = HERE.parent.parent
    if not (workspace / "client" / "cli" / "Cargo.toml").is_file():
        raise SystemExit("the package is built inside the repository: pip install ./client/python")
    cargo = os.environ.get("CARGO", "cargo")
    subprocess.run([cargo, "build", "--locked", "-p", "scalems", "--profile", chosen], cwd=workspace, check=True)
    metadata = [cargo, "metadata", "--locked", "--no-deps", "--format-version", "1"]
    target = json.loads(subprocess.run(metadata, cwd=workspace, check=True, stdout=subprocess.PIPE).stdout)
    folder = "debug" if chosen == "dev" else chosen
    built = pathlib.Path(target["target_directory"]) / folder / "scalems"
    placed = HERE / "python" / "scalems_pilot" / "bin" / "scalems"
    placed.parent.mkdir(exist_ok=True)
    new = placed.with_name("scalems.new")
    shutil.copy2(built, new)
    if shutil.which("strip"):
        subprocess.run(["strip", str(new)], check=True)
    # A pilot may run from the one that is there.
    new.replace(placed)
