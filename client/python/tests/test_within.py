"""What a function does while it runs: children, progress, checkpoints."""

import concurrent.futures
import os
import threading
import time

import pytest
import scalems_pilot
from meeting import LONG_S, hear, say, until, until_asked
from scalems_pilot import Executor, TaskFailed, WouldDeadlock, current_task


def fib(n):
    if n < 2:
        return n
    task = current_task()
    one, two = task.submit(fib, n - 1), task.submit(fib, n - 2)
    return one.result() + two.result()


def fib_by_wait(n):
    if n < 2:
        return n
    task = current_task()
    children = [task.submit(fib_by_wait, n - 1), task.submit(fib_by_wait, n - 2)]
    done, left = concurrent.futures.wait(children)
    assert not left
    return sum(child.result() for child in concurrent.futures.as_completed(done))


def leaf(n):
    return n


def sum_of_map(n):
    return sum(current_task().options().map(leaf, range(n), chunksize=3))


def without_end(n):
    return current_task().submit(without_end, n + 1).result()


def left_alone(child):
    """Waits until a child has ended by itself: as its parent does not, which would call it in its own place."""
    ended = threading.Event()
    child.add_done_callback(lambda _: ended.set())
    return ended.wait(LONG_S)


@pytest.mark.parametrize("function", [fib, fib_by_wait])
def test_recursion_that_fills_all_slots_with_parents_goes_on(ex, function):
    futures = [ex.submit(function, 8) for _ in range(3)]
    assert [future.result(LONG_S) for future in futures] == [21] * 3


def test_children_of_one_slot():
    with Executor(max_workers=1) as one:
        assert one.submit(fib, 6).result(LONG_S) == 8
        assert one.submit(fib_by_wait, 6).result(LONG_S) == 8
        assert one.submit(sum_of_map, 100).result(LONG_S) == 4950


def test_recursion_without_end_ends_with_an_error(ex):
    with pytest.raises((RecursionError, TaskFailed)):
        ex.submit(without_end, 0).result(LONG_S)
    assert ex.submit(leaf, 3).result(LONG_S) == 3


def test_a_child_runs_elsewhere_where_there_is_room(ex, tmp_path):
    def parent():
        child = current_task().submit(os.getpid)
        assert left_alone(child)
        return child.result(0), os.getpid(), child.task_id, current_task().uid

    there, here, child, uid = ex.submit(parent).result(LONG_S)
    assert there != here and child.split(".")[0] != uid.split(".")[0]


def test_what_becomes_of_a_child(ex):
    def parent():
        task = current_task()
        failed = task.submit(int, "seven")
        assert isinstance(failed.exception(), ValueError)
        odd = task.submit(lambda: (current_task().uid, current_task().cancel_requested()))
        assert odd.result()[1] is False
        lock = task.submit(lambda: __import__("threading").Lock())
        assert getattr(lock.exception(), "code", "") == "wrong_result"
        assert isinstance(task.submit(leaf, lambda: 1).result(), type(leaf))
        # What is sent is as it was then.
        items = [1]
        child = task.submit(len, items)
        items.append(2)
        assert child.result() == 1
        assert child.done() and not child.cancelled()
        return current_task() is task

    assert ex.submit(parent).result(LONG_S)


def test_children_bear_the_name_of_their_parent(pilot):
    def parent():
        task = current_task()
        child = task.options(name="mine", labels={"a": "b"}).submit(leaf, 1)
        assert left_alone(child)
        return child.result(), task.uid

    with Executor(pilot._session.connection_file) as ex:
        value, uid = ex.submit(parent).result(LONG_S)
        rows = list(pilot.tasks(f"label:parent={uid}"))
    assert value == 1 and len(rows) == 1


def test_children_end_with_their_parent(pilot, meeting):
    came = meeting.came

    def parent():
        current_task().submit(until_asked, came)
        assert hear(came)
        return current_task().uid

    with Executor(pilot._session.connection_file) as ex:
        uid = ex.submit(parent).result(LONG_S)
        until(lambda: all(row["state"] in ("done", "canceled") for row in pilot.tasks(f"label:parent={uid}")))


def test_a_cancel_reaches_children(pilot, meeting):
    came = meeting.came

    def parent():
        return current_task().submit(until_asked, came).result()

    with Executor(pilot._session.connection_file) as ex:
        future = ex.submit(parent)
        meeting.arrived()
        future.request_cancel("enough")
        assert future.result(LONG_S) == "asked"


def test_a_child_that_can_never_begin_is_reported(ex):
    def parent():
        return current_task().options(cores=2).submit(leaf, 1).result()

    with pytest.raises(WouldDeadlock, match="of cores it needs 2") as raised:
        ex.submit(parent).result(LONG_S)
    assert raised.value.code == "would_deadlock"
    assert ex.options(cores=2).submit(leaf, 2).result(LONG_S) == 2


def test_parents_that_hold_all_slots_for_children_that_need_more_are_reported(ex, meeting):
    def parent(mine, other):
        # Both are there before either waits.
        say(mine)
        assert hear(other)
        # It wants a limit of its own, which its parent's place does not have.
        child = current_task().options(walltime=60).submit(leaf, 1)
        child.begin_within = 1.0
        return child.result()

    one, two = meeting.fifo("one"), meeting.fifo("two")
    futures = [ex.submit(parent, one, two), ex.submit(parent, two, one)]
    errors = [future.exception(LONG_S) for future in futures]
    reported = [error for error in errors if error is not None]
    assert reported and all(isinstance(error, WouldDeadlock) for error in reported)
    assert "has not begun in 1 s" in str(reported[0])
    # Where there is room it begins.
    assert ex.submit(parent, one, one).result(LONG_S) == 1
    with Executor(max_workers=1) as alone, pytest.raises(WouldDeadlock, match="of cores it needs 1"):
        alone.submit(parent, one, one).result(LONG_S)


def test_an_interpreter_that_submits_is_kept(ex):
    def parent():
        return current_task().submit(leaf, 1).result(), os.getpid()

    with Executor(max_workers=1) as one:
        pids = {one.submit(parent).result(LONG_S)[1] for _ in range(5)}
    assert len(pids) == 1


def test_progress_reaches_listeners(pilot):
    heard = []

    def slow():
        task, step = current_task(), 0
        # Until somebody has heard of it.
        while not task.cancel_requested():
            task.progress(min(step / 10_000, 0.9), f"step {step}")
            step += 1
            time.sleep(0.05)

    with Executor(pilot._session.connection_file) as ex:
        future = ex.submit(slow)
        ex.wait_accepted()
        events = pilot.events(f"submission/{future.task_id.split('.')[0]}")
        while True:
            event = events.next_within(LONG_S)
            if event.kind == "progress":
                break
        said = event.body["tasks"][0]
        assert 0 <= said["fraction"] < 1 and said["text"].startswith("step ")
        told = future.progress()
        assert told is not None and told[0] >= said["fraction"]
        future.request_cancel()
        future.result(LONG_S)
        assert future.progress() is None


def test_a_checkpoint_is_found_by_the_next_attempt(ex):
    def count():
        task = current_task()
        place = task.checkpoint_dir / "count"
        number = int(place.read_text()) if place.exists() else 0
        with task.publishing("count") as path:
            path.write_text(str(number + 1))
        if number < 2:
            raise ValueError("again")
        return number + 1, os.environ["SCALEMS_CHECKPOINT_DIR"] == str(task.checkpoint_dir), task.attempt

    assert ex.options(retries=3).submit(count).result(LONG_S) == (3, True, 3)
    with pytest.raises(RuntimeError, match="no task runs here"):
        scalems_pilot.current_task()
