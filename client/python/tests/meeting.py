"""Where a test and the functions that it has called meet: they wait for each other at FIFOs, and not for times."""

import os
import select
import time

LONG_S = 60


def say(path):
    """Says that one is there. It is heard once, also by who comes later."""
    with open(path, "wb", buffering=0) as fifo:
        fifo.write(b".")


def hear(path):
    """Waits until somebody has said so. False: nobody will, the test is over."""
    with open(path, "rb", buffering=0) as fifo:
        return fifo.read(1) == b"."


def attend(came, go):
    """Is there, and waits to be let go. Returns whether it was."""
    say(came)
    return hear(go)


def until_asked(came):
    """Is there until its task is asked to end."""
    from scalems_pilot import current_task

    say(came)
    while not current_task().cancel_requested():
        time.sleep(0.005)  # It is a flag, which nothing else tells of.
    return "asked"


class Meeting:
    """FIFOs that are there as long as this is: what is said in one is kept until it is heard."""

    def __init__(self, directory):
        self._directory = directory
        self._held = {}
        self.came, self.go = self.fifo("came"), self.fifo("go")

    def fifo(self, name):
        """The path of another one."""
        path = str(self._directory / f"meeting.{name}")
        os.mkfifo(path)
        # Open for both: whoever opens it elsewhere does not wait for that.
        self._held[path] = os.open(path, os.O_RDWR)
        return path

    def arrived(self, count=1):
        """Waits until so many more are there."""
        while count:
            assert self.anybody(LONG_S), "nobody came"
            count -= len(os.read(self._held[self.came], count))

    def anybody(self, seconds=0):
        """Whether somebody is there who was not waited for, or comes in time."""
        return bool(select.select([self._held[self.came]], [], [], seconds)[0])

    def let_go(self, count=1):
        """Lets so many go on."""
        os.write(self._held[self.go], b"." * count)

    def close(self):
        """Whoever waits still is told that nothing comes."""
        for held in self._held.values():
            os.close(held)


def until(true):
    """Asks again until it is so: for what the pilot tells nobody by itself."""
    end = time.monotonic() + LONG_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
