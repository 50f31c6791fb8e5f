"""A real run on a pilot of its own, with what a report has to show: arrays, dependencies, retries, failures of several kinds."""

import os
import pathlib
import subprocess
import tempfile

HOSTILE = "</script></title><script>document.title=`owned`</script><img src=http://192.0.2.1/x.png onerror=alert(1)>"
# No browser may show it as it is: it turns what follows, and moves a terminal's cursor.
CONTROLS = "evil\x1b[31m \u202ename"


class Scene:
    """A home of pilots; with `with`, nothing of it is left behind."""

    def __init__(self, program):
        self.program = program
        self.directory = tempfile.TemporaryDirectory(prefix="scalems-t", dir="/tmp")
        self.root = pathlib.Path(self.directory.name)
        others = ("SCALEMS_PILOT", "SCALEMS_CONNECTION", "SCALEMS_LOG")
        self.environment = {name: value for name, value in os.environ.items() if name not in others}
        self.environment["PATH"] = f"{os.path.dirname(program)}:{os.environ['PATH']}"
        for name, part in (("SCALEMS_HOME", "home"), ("XDG_RUNTIME_DIR", "run")):
            (self.root / part).mkdir(mode=0o700)
            self.environment[name] = str(self.root / part)
        self.environment["TMPDIR"] = str(self.root)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.run("pilot", "stop", "--force", check=False)
        self.directory.cleanup()

    def run(self, *words, check=True):
        """Runs the command, and gives what it wrote."""
        done = subprocess.run(
            [self.program, *words],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=120,
        )
        if check and done.returncode:
            raise RuntimeError(f"scalems {' '.join(words)} ended with {done.returncode}:\n{done.stderr.decode()}")
        return done.stdout.decode()

    def submit(self, *words):
        return self.run("--output", "quiet", "submit", *words).strip()

    def play(self, scale=1.0, name="default", cores=6, calm=False):
        """Runs it all, with times as many times as long, and ends the pilot. Names are hostile, and some
        tasks need a second attempt, unless it is to be calm."""
        hostile = "analyse" if calm else HOSTILE
        self.run("pilot", "start", "--detach", "--name", name, "--cores", str(cores), "--overcommit")
        self.run("pilot", "wait", "--workers", "1", "--timeout", "60s")

        def varied(first, more):
            """A shell's line that takes as long as its index says."""
            return f'sleep $(awk "BEGIN {{ print {first * scale} + $SCALEMS_INDEX % 5 * {more * scale} }}")'

        first = self.submit("--name", "prepare", "--array", "0-11", "--", "sh", "-c", varied(0.15, 0.06))
        second = self.submit(
            *("--name", "simulate", "--after", first, "--array", "0-23", "--cores", "2", "--label", "project=water"),
            *("--", "sh", "-c", varied(0.3, 0.09)),
        )
        fails = f"{varied(0.08, 0.05)}; case $SCALEMS_INDEX in *7) echo 'cannot open {hostile}' >&2; exit 3;; esac"
        self.submit("--name", hostile[:200], "--after", second, "--array", "0-39", "--", "sh", "-c", fails)
        again = f"{varied(0.1, 0.1)}; test $SCALEMS_ATTEMPT = 2"
        if not calm:
            self.submit("--name", CONTROLS, "--retries", "2", "--array", "0-4", "--", "sh", "-c", again)
        self.submit("--name", "killed", "--", "sh", "-c", f"sleep {0.2 * scale}; kill -9 $$")
        stopped = self.submit("--name", "stopped", "--", "sleep", "60")
        self.submit("--name", "last", "--after", second, "--", "sleep", str(1.2 * scale))
        self.run("wait", f"1-{int(stopped) - 1},{int(stopped) + 1}", check=False)
        self.run("task", "cancel", stopped)
        self.run("wait", "all", check=False)
        self.run("pilot", "stop")
