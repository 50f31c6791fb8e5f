"""Draws docs/images/top.svg from the real program: python3 tests/tools/picture/top.py target/debug/scalems FILE.svg

A pilot of its own with workers and tasks, the monitor in a terminal of its own, and what is seen there after a while.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.dom.minidom

import svg

COLUMNS, ROWS = 118, 32
# How long the work goes on before the picture: so long that curves have something to show, seconds.
RUNS = float(os.environ.get("PICTURE_AFTER", "90"))
PATIENCE = 60

WORK = (
    # Some that end one after another, some that fail, and more than there are cores.
    ("--name relax --array 0-899", 'sleep 0.$((SCALEMS_INDEX * 7 % 9 + 1))'),
    ("--name dock --priority 1 --array 0-1499 --retries 1", 'sleep 0.$((SCALEMS_INDEX * 5 % 8 + 2)); test $((SCALEMS_INDEX % 41)) -ne 7'),
    ("--name score --array 0-299 --priority 3", "sleep 1.$((SCALEMS_INDEX * 3 % 9))"),
)


class Scene:
    def __init__(self, program):
        # Socket files lie in it, and their paths are short.
        self.root = tempfile.mkdtemp(prefix="scalems-picture", dir="/tmp")
        for part in ("home", "run", "work"):
            os.mkdir(os.path.join(self.root, part))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SCALEMS_", "TMUX"))},
            "PATH": os.path.dirname(program) + os.pathsep + os.environ["PATH"],
            "SCALEMS_HOME": os.path.join(self.root, "home"),
            "XDG_RUNTIME_DIR": os.path.join(self.root, "run"),
            "LANG": "C.UTF-8",
            "COLORTERM": "truecolor",
        }
        self.environment.pop("NO_COLOR", None)

    def run(self, *line, check=True):
        return subprocess.run(
            line,
            cwd=os.path.join(self.root, "work"),
            env=self.environment,
            check=check,
            text=True,
            stdout=subprocess.PIPE,
            timeout=PATIENCE,
        ).stdout

    def tmux(self, *line, check=True):
        return self.run("tmux", "-S", os.path.join(self.root, "tmux"), *line, check=check)

    def until(self, text):
        end = time.monotonic() + PATIENCE
        while text not in (screen := self.tmux("capture-pane", "-p")):
            if time.monotonic() > end:
                sys.exit(f"{text!r} was not seen within {PATIENCE} s:\n{screen}")
            time.sleep(0.1)

    def picture(self):
        start = "scalems pilot start --detach --name night --cores 8 --overcommit --workers 2"
        self.run(*start.split())
        self.run(*"scalems pilot wait --workers 2 --timeout 30s".split())
        for options, line in WORK:
            self.run("scalems", "submit", *options.split(), "--", "sh", "-c", line)
        self.tmux("-u", "-f", "/dev/null", "new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS),
                  "scalems top --no-settings --theme dark", ";", "set", "-g", "status", "off")  # fmt: skip
        self.tmux("resize-window", "-x", str(COLUMNS), "-y", str(ROWS))
        self.until("allocation")
        time.sleep(RUNS)
        return self.tmux("capture-pane", "-e", "-p")

    def end(self):
        self.tmux("kill-server", check=False)
        self.run(*"scalems task cancel all --kill".split(), check=False)
        self.run(*"scalems pilot stop --pilot night".split(), check=False)
        shutil.rmtree(self.root, ignore_errors=True)


def main():
    program, picture = map(os.path.abspath, sys.argv[1:3])
    scene = Scene(program)
    try:
        screen = scene.picture()
    finally:
        scene.end()
    drawn = svg.draw(svg.read(screen, COLUMNS), "scalems top: a pilot with two workers and its tasks")
    xml.dom.minidom.parseString(drawn)
    with open(picture, "w", encoding="utf-8") as file:
        file.write(drawn)
    print(f"{picture}: {len(drawn) // 1000} kB")


if __name__ == "__main__":
    main()
