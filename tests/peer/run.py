"""All checks: `run.py [CONNECTION_DIR]`.

With a directory the pilot whose connection files lie there is checked, over each transport that they offer, as a
client, as an observer and as a worker; nobody else should use it. Without one, a pilot is started with the program
that `SCALEMS_BIN` names; without that too, only the test vectors are read.
"""

import contextlib
import os
import subprocess
import sys
import tempfile

import zmq

import report
import session_checks
import task_checks
import vectors
import wire
import worker_checks
from client import Client
from worker import Served, Worker


class Pilot:
    """A live pilot, reached over one transport."""

    def __init__(self, directory, transport):
        self.directory, self.transport = directory, transport

    def client(self, **options):
        return Client(self.directory, self.transport, **options)

    def worker(self, **options):
        return Worker(self.directory, self.transport, **options)

    def serve(self):
        return Served(self.directory, self.transport)


@contextlib.contextmanager
def started(program):
    """A pilot of ours with one worker, which ends with the block."""
    with tempfile.TemporaryDirectory(prefix="peer-") as directory:
        command = [program, "--output", "jsonl", "pilot", "start", "--name", f"peer-{os.getpid()}", "--dir", directory]
        with open(os.path.join(directory, "log"), "w") as log:
            pilot = subprocess.Popen([*command, "--tcp", "--workers", "1"], stdout=subprocess.PIPE, stderr=log)
        try:
            poller = zmq.Poller()
            poller.register(pilot.stdout, zmq.POLLIN)
            if not poller.poll(60_000) or not pilot.stdout.readline():
                with open(os.path.join(directory, "log")) as log:
                    raise wire.Trouble(f"the pilot did not start: {log.read()[-2000:]}")
            worker_joins(directory)
            yield directory
        finally:
            pilot.terminate()
            try:
                pilot.wait(30)
            except subprocess.TimeoutExpired:
                pilot.kill()
                pilot.wait()
                raise


def worker_joins(directory):
    """Follows the workers until one is active."""
    with Client(directory) as client:
        client.hello()
        client.subscribe("workers")
        client.event("workers", lambda event: event["body"] == "open")
        rows = client.ask({"snapshot": "workers"})["state"]["workers"]["rows"]
        while not any(row["state"] == "active" for row in rows):
            rows = client.event("workers", lambda event: event["body"] != "open", 60)["body"]["workers"]["rows"]


def with_worker(pilot, check):
    """The checks of clients need a worker; each has one of its own, so that none hangs on another's."""
    with pilot.serve():
        return check(pilot)


def live(directory):
    for transport in wire.ConnectionFile(directory, "client").transports():
        pilot = Pilot(directory, transport)
        only = session_checks.TCP if transport == "tcp" else []
        for check in session_checks.ALL + only + task_checks.ALL:
            yield named(pilot, check), lambda pilot=pilot, check=check: with_worker(pilot, check)
        for check in worker_checks.ALL:
            yield named(pilot, check), lambda pilot=pilot, check=check: check(pilot)


def named(pilot, check):
    return f"{pilot.transport} {check.__name__.replace('_', ' ')}"


def main():
    program = os.environ.get("SCALEMS_BIN")
    if len(sys.argv) > 1:
        return report.run([*vectors.checks(), *live(sys.argv[1])])
    if not program:
        return report.run([*vectors.checks(), ("live pilot", lambda: "there is no CONNECTION_DIR and no SCALEMS_BIN")])
    with started(program) as directory:
        return report.run([*vectors.checks(), *live(directory)])


if __name__ == "__main__":
    sys.exit(main())
