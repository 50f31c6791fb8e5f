"""All checks: `run.py [CONNECTION_DIR]`.

Without a directory only the test vectors are read. With one, its pilot is checked over each transport that its
connection files offer, as a client, as an observer and as a worker. The pilot should be one that nobody else uses.
"""

import sys

import report
import session_checks
import task_checks
import vectors
import worker_checks
from client import Client
from wire import ConnectionFile
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


def named(pilot, check):
    return f"{pilot.transport} {check.__name__.replace('_', ' ')}", lambda: check(pilot)


def with_worker(pilot, check):
    """The checks of clients need a worker; each has one of its own, so that none hangs on another's."""
    with pilot.serve():
        return check(pilot)


def live(directory):
    for transport in ConnectionFile(directory, "client").transports():
        pilot = Pilot(directory, transport)
        for check in session_checks.ALL + task_checks.ALL:
            name, _ = named(pilot, check)
            yield name, lambda pilot=pilot, check=check: with_worker(pilot, check)
        for check in worker_checks.ALL:
            yield named(pilot, check)


def checks(directory):
    yield from vectors.checks()
    if directory:
        yield from live(directory)
    else:
        yield "live pilot", lambda: "no connection directory was given"


if __name__ == "__main__":
    sys.exit(report.run(checks(sys.argv[1] if len(sys.argv) > 1 else None)))
