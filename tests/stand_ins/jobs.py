"""The tiny queue of both stand-ins: a directory for each job, and a process that runs it."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

NODES = ["n1", "n2"]
ROOT = pathlib.Path(os.environ["STAND_IN"])


def fail(text, code=1):
    print(text, file=sys.stderr)
    sys.exit(code)


def write(path, value):
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(value))
    beside.rename(path)


class Job:
    """What is known of a job lies in files, since each command is a process of its own."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)

    @staticmethod
    def known(number):
        directory = ROOT / str(number)
        return Job(directory) if (directory / "asked.json").exists() else None

    def read(self, name, otherwise=None):
        try:
            return json.loads((self.directory / f"{name}.json").read_text())
        except FileNotFoundError:
            return otherwise

    def write(self, name, value):
        write(self.directory / f"{name}.json", value)

    @property
    def asked(self):
        return self.read("asked")

    @property
    def state(self):
        if self.read("ended") is not None:
            return "ended"
        return "running" if self.read("began") is not None else "pending"

    def note(self, pid):
        """Notes the leader of a session that is part of the job."""
        (self.directory / "sessions" / str(pid)).touch()

    def signal(self, number, leaders=None):
        for entry in leaders or [path.name for path in (self.directory / "sessions").iterdir()]:
            try:
                os.killpg(int(entry), number)
            except ProcessLookupError:
                pass


def queued(script, asked):
    """Makes a job of a script; what it needs is there at once, or never."""
    ROOT.mkdir(exist_ok=True)
    number = 1
    while True:
        directory = ROOT / str(number)
        try:
            directory.mkdir()
            break
        except FileExistsError:
            number += 1
    (directory / "sessions").mkdir()
    (directory / "script").write_text(script)
    job = Job(directory)
    job.write("asked", asked | {"number": number})
    return job


def began(job, command, environment, gentle, grace):
    """Runs a job on the side. When it is to end, it gets this signal, and after so many seconds is killed."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    with open(os.devnull, "r+b") as nothing:
        for descriptor in range(3):
            os.dup2(nothing.fileno(), descriptor)
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    job.note(process.pid)
    job.write("began", time.time())
    end = time.time() + job.asked["seconds"]
    told, how = None, None
    while process.poll() is None:
        now = time.time()
        if told is None and (now >= end or (job.directory / "cancel").exists()):
            how = "timeout" if now >= end else "cancel"
            told = now
            job.signal(gentle, [process.pid] if gentle == signal.SIGHUP else None)
        if told is not None and now >= told + grace:
            job.signal(signal.SIGKILL)
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            pass
    # What the script has left on nodes ends with the job.
    job.signal(signal.SIGKILL)
    job.write("ended", {"status": process.returncode, "how": how})
    os._exit(0)
