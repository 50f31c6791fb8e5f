"""A pilot for each module of tests, and one whose processes a test may end."""

import faulthandler

import pytest
import scalems_pilot

#: No test takes so long: one that hangs says where.
HANG_S = 120


@pytest.fixture(autouse=True)
def no_hang():
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="module")
def pilot():
    with scalems_pilot.local(cores=2) as pilot:
        yield pilot


@pytest.fixture(scope="module")
def ex():
    with scalems_pilot.Executor(max_workers=2) as executor:
        yield executor
