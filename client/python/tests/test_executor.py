"""What executors and futures of concurrent.futures promise, with a real pilot and real interpreters."""

import concurrent.futures
import functools
import gc
import itertools
import operator
import os
import sys
import threading
import time
from concurrent.futures import wait

import pytest
import scalems_pilot
from meeting import LONG_S, attend
from scalems_pilot import Executor, Refused, RemoteError, RemoteTraceback, SessionOver, TaskFailed, TimedOut
from scalems_pilot.codec import CodecError


def add(a, b=1):
    return a + b


def fail(text):
    raise ValueError(text)


class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def test_a_call(ex):
    future = ex.submit(pow, 2, 10)
    assert future.result(LONG_S) == 1024
    assert future.done() and not future.cancelled() and not future.running() and future.exception() is None
    assert future.task_id and future.attempt == 1


def test_functions_of_all_kinds(ex):
    factor = 3
    assert ex.submit(lambda x: x * factor, 5).result(LONG_S) == 15
    assert ex.submit(add, 2).result(LONG_S) == 3
    assert ex.submit(add, 2, b=5).result(LONG_S) == 7
    assert ex.submit(functools.partial(add, 1), 1).result(LONG_S) == 2
    assert ex.submit(operator.itemgetter(1), [1, 2]).result(LONG_S) == 2
    assert ex.submit("a b".split).result(LONG_S) == ["a", "b"]
    assert ex.submit(fn_with_self_keyword, self=1, fn=2).result(LONG_S) == (1, 2)


def fn_with_self_keyword(self, fn):
    return self, fn


def test_what_a_function_refers_to_is_as_it_is_when_it_is_submitted(ex):
    state = {"x": 1}

    def read():
        return state["x"]

    assert ex.submit(read).result(LONG_S) == 1
    state["x"] = 2
    assert ex.submit(read).result(LONG_S) == 2
    y = 1

    def closed():
        return y

    assert ex.submit(closed).result(LONG_S) == 1
    y = 2
    assert ex.submit(closed).result(LONG_S) == 2


def test_an_exception_arrives_as_itself_with_the_remote_traceback(ex):
    future = ex.submit(fail, "so it is")
    with pytest.raises(ValueError, match="so it is") as raised:
        future.result(LONG_S)
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert "in fail" in str(raised.value.__cause__)
    assert future.exception() is raised.value


def test_an_exception_that_cannot_be_rebuilt(ex):
    def odd():
        raise Odd(1, 2)

    with pytest.raises((RemoteError, Odd), match="1 and 2") as raised:
        ex.submit(odd).result(LONG_S)
    if isinstance(raised.value, RemoteError):
        assert raised.value.class_name.endswith("Odd") and "odd" in raised.value.traceback


def test_what_cannot_be_pickled(ex):
    lock = threading.Lock()
    for future in (ex.submit(lambda: lock), ex.submit(add, lock), ex.submit(lock.acquire)):
        with pytest.raises(CodecError, match="cannot be pickled"):
            future.result(LONG_S)
    with pytest.raises(TaskFailed) as raised:
        ex.submit(threading.Lock).result(LONG_S)
    assert raised.value.code == "wrong_result"
    with pytest.raises(TypeError):
        ex.submit("no function")


def test_what_is_too_large(ex):
    with pytest.raises(TaskFailed) as raised:
        ex.submit(len, bytes(65 << 20)).result(LONG_S)
    assert raised.value.code == "too_large"
    with pytest.raises(TaskFailed) as raised:
        ex.submit(bytes, 65 << 20).result(LONG_S)
    assert raised.value.code == "wrong_result"
    assert ex.submit(bytes, 8 << 20).result(LONG_S) == bytes(8 << 20)


def test_a_function_that_ends_its_interpreter_ends_nothing_else(ex):
    with pytest.raises(TaskFailed) as raised:
        ex.submit(os._exit, 3).result(LONG_S)
    assert raised.value.code == "interpreter_ended"
    with pytest.raises(SystemExit):
        ex.submit(sys.exit, 3).result(LONG_S)
    assert ex.submit(add, 1).result(LONG_S) == 2


def test_what_a_function_writes(ex):
    def noisy():
        import logging

        print("to stdout")
        print("to stderr", file=sys.stderr)
        logging.getLogger("here").warning("logged")
        return 7

    future = ex.submit(noisy)
    assert future.result(LONG_S) == 7
    assert future.stdout == "to stdout\n"
    assert future.stderr == "to stderr\nWARNING here: logged\n"
    assert [record[1:] for record in future.log] == [("WARNING", "here", "logged")]


def test_records_are_shown_once(ex):
    def configured():
        import io
        import logging

        handler = logging.StreamHandler(io.StringIO())
        logging.root.addHandler(handler)
        try:
            logging.warning("logged")
        finally:
            logging.root.removeHandler(handler)
        return handler.stream.getvalue()

    future = ex.submit(configured)
    assert future.result(LONG_S) == "logged\n"
    assert future.stderr == "" and [text for *_, text in future.log] == ["logged"]


def test_arrays(ex):
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(300_000.0).reshape(300, 1_000)
    result = ex.submit(operator.mul, array, 2).result(LONG_S)
    assert (result == array * 2).all()
    result[0, 0] = 1


def test_map(ex):
    assert list(ex.map(pow, range(10), range(10))) == list(map(pow, range(10), range(10)))
    assert list(ex.map(pow, [])) == []
    assert list(ex.map(add, range(1_000), chunksize=100)) == [x + 1 for x in range(1_000)]
    assert list(ex.map(add, range(7), range(9), chunksize=3)) == [0, 2, 4, 6, 8, 10, 12]
    for size in (0, -1):
        with pytest.raises(ValueError):
            ex.map(add, [1], chunksize=size)


def test_map_is_lazy(ex):
    taken = []

    def items():
        for number in itertools.count():
            taken.append(number)
            yield number

    results = ex.map(add, items(), buffersize=4)
    assert len(taken) == 4
    assert [next(results) for _ in range(3)] == [1, 2, 3]
    assert len(taken) <= 8
    results.close()


def test_map_gives_what_came_before_an_exception(ex):
    results = ex.map(divmod, [1, 1, 1], [2, 3, 0])
    assert [next(results), next(results)] == [(0, 1), (0, 1)]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_has_a_time(ex, meeting):
    results = ex.map(attend, [meeting.came], [meeting.go], timeout=0.2)
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)
    meeting.let_go()


def test_result_has_a_time(ex, meeting):
    future = ex.submit(attend, meeting.came, meeting.go)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(0.05)
    meeting.let_go()
    assert future.result(LONG_S)


def test_cancel_is_true_only_if_it_will_not_run(ex, meeting):
    running = [ex.submit(attend, meeting.came, meeting.go) for _ in range(2)]
    meeting.arrived(2)
    told = []
    waiting = ex.submit(attend, meeting.came, meeting.go)
    waiting.add_done_callback(told.append)
    assert waiting.cancel() and waiting.cancelled() and waiting.done() and told == [waiting]
    assert waiting.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        waiting.result()
    done, _ = concurrent.futures.wait([waiting], timeout=LONG_S)
    assert done == {waiting}
    assert not any(future.cancel() for future in running)
    meeting.let_go(2)
    assert all(future.result(LONG_S) for future in running)
    assert not running[0].cancel()
    assert not meeting.anybody()


def test_kill(ex, meeting):
    future = ex.submit(attend, meeting.came, meeting.go)
    meeting.arrived()
    future.kill("enough")
    with pytest.raises((concurrent.futures.CancelledError, TaskFailed)):
        future.result(LONG_S)
    assert ex.submit(add, 1).result(LONG_S) == 2


def test_wait_and_as_completed(ex):
    futures = [ex.submit(add, n) for n in range(10)]
    done, left = concurrent.futures.wait(futures, timeout=LONG_S)
    assert len(done) == 10 and not left
    futures = [ex.submit(add, n) for n in range(10)] + [ex.submit(fail, "x")]
    seen = list(concurrent.futures.as_completed(futures, timeout=LONG_S))
    assert set(seen) == set(futures)
    done, _ = concurrent.futures.wait([ex.submit(fail, "x")], LONG_S, concurrent.futures.FIRST_EXCEPTION)
    assert len(done) == 1


def test_callbacks(ex):
    called, came = [], threading.Event()
    future = ex.submit(add, 1)
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(lambda f: (called.append(f.result()), came.set()))
    assert came.wait(LONG_S) and called == [2]
    future.add_done_callback(lambda f: called.append("at once"))
    assert called == [2, "at once"]


def test_options(ex):
    assert ex.options(cores=2, name="two", labels={"a": "b"}, priority=1).submit(add, 1).result(LONG_S) == 2
    assert ex.options(env={"COLOUR": "red"}).submit(os.getenv, "COLOUR").result(LONG_S) == "red"
    first = ex.submit(add, 1)
    assert ex.options(after=first).submit(add, 5).result(LONG_S) == 6
    bad = ex.submit(fail, "x")
    with pytest.raises(TaskFailed) as raised:
        ex.options(after=bad).submit(add, 5).result(LONG_S)
    assert raised.value.code == "dependency_failed"
    with pytest.raises(TypeError, match="no option"):
        ex.options(core=1)
    with pytest.raises(TaskFailed) as raised:
        ex.options(python="/no/such/python").submit(add, 1).result(LONG_S)
    assert raised.value.code == "no_interpreter"


def test_ten_thousand_calls(ex):
    futures = [ex.submit(add, n) for n in range(10_000)]
    assert [future.result(LONG_S) for future in futures] == list(range(1, 10_001))


def test_shutdown():
    ex = Executor(max_workers=2)
    futures = [ex.submit(add, n) for n in range(50)]
    ex.shutdown()
    assert [future.result(0) for future in futures] == list(range(1, 51))
    with pytest.raises(RuntimeError, match="after shutdown"):
        ex.submit(add, 1)
    with pytest.raises(RuntimeError):
        ex.map(add, [1])
    ex.shutdown()


def test_shutdown_without_waiting_lets_end_what_was_submitted():
    ex = Executor(max_workers=2)
    futures = [ex.submit(add, n) for n in range(5)]
    ex.shutdown(wait=False)
    assert [future.result(LONG_S) for future in futures] == [1, 2, 3, 4, 5]


def test_shutdown_that_cancels(meeting):
    ex = Executor(max_workers=1)
    first = ex.submit(attend, meeting.came, meeting.go)
    meeting.arrived()
    others = [ex.submit(attend, meeting.came, meeting.go) for _ in range(5)]
    # Once they are taken back the first one may end, for which it waits.
    others[-1].add_done_callback(lambda _: meeting.let_go())
    ex.shutdown(cancel_futures=True)
    assert first.result(0) and all(other.cancelled() for other in others)


def test_one_that_is_forgotten_ends():
    ex = Executor(max_workers=1)
    future = ex.submit(add, 1)
    connection = ex._connection
    del ex
    gc.collect()
    assert future.result(LONG_S) == 2
    connection._thread.join(LONG_S)
    assert not connection._thread.is_alive()


def test_a_pilot_that_is_killed(meeting):
    with Executor(max_workers=1) as ex:
        future = ex.submit(attend, meeting.came, meeting.go)
        meeting.arrived()
        os.kill(ex._embedded.pid, 9)
        with pytest.raises(SessionOver):
            future.result(LONG_S)


def test_a_pilot_by_name(tmp_path, monkeypatch):
    with scalems_pilot.local(cores=1) as pilot:
        with Executor(pilot._session.connection_file) as ex:
            assert ex.pilot == pilot.name
            assert ex.submit(add, 1).result(LONG_S) == 2
        assert pilot.run(["true"]).ok


def test_a_function_knows_its_task_by_the_name_that_the_package_has_for_it(ex):
    def about():
        task = scalems_pilot.current_task()
        return task.uid, task.attempt, task.cancel_requested()

    future = ex.submit(about)
    uid, attempt, canceled = future.result(LONG_S)
    assert (uid, attempt, canceled) == (future.task_id, 1, False)
    with pytest.raises(RuntimeError, match="no task runs here"):
        scalems_pilot.current_task()


def test_a_number_of_workers_in_the_place_of_the_pilot_is_named():
    with pytest.raises(TypeError, match="max_workers=4"):
        Executor(4)


def test_a_function_that_is_larger_than_a_body(ex):
    held = os.urandom(1 << 20)

    def measure(*extra, sign=1):
        return sign * (len(held) + len(extra))

    assert ex.submit(measure, "more", sign=-1).result(LONG_S) == -len(held) - 1
    assert list(ex.map(measure, range(20), chunksize=7)) == [len(held) + 1] * 20


def hold(seconds):
    # Python's lock is kept meanwhile.
    import ctypes

    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def test_an_answer_does_not_wait_for_a_next_call_that_keeps_the_lock_of_python():
    with Executor(max_workers=1) as ex:
        for _ in range(3):
            # So that it is known how quick they are, and several are sent ahead.
            wait([ex.submit(add, n) for n in range(300)], LONG_S)
        quick = [ex.submit(add, n) for n in range(20)]
        slow = ex.submit(hold, 3)
        assert [future.result(LONG_S) for future in quick] == list(range(1, 21))
        assert not slow.done()
        assert slow.result(LONG_S) is None


def test_answers_that_were_not_sent_outlive_their_interpreter():
    with Executor(max_workers=1) as ex:
        for _ in range(20):
            futures = [ex.submit(add, n) for n in range(200)]
            futures.insert(150, ex.submit(os._exit, 3))
            more = [ex.submit(add, n) for n in range(100)]
            failed = futures.pop(150)
            assert [future.result(LONG_S) for future in futures] == list(range(1, 201))
            assert [future.result(LONG_S) for future in more] == list(range(1, 101))
            with pytest.raises(TaskFailed, match="exit code 3") as raised:
                failed.result(LONG_S)
            assert raised.value.code == "interpreter_ended"


def test_a_result_that_is_waited_for_comes_to_those_who_look_otherwise_too(ex):
    for _ in range(50):
        slow, quick = ex.submit(time.sleep, 0.01), ex.submit(add, 1)
        called = []
        slow.add_done_callback(called.append)
        waiter = threading.Thread(target=slow.result, args=(LONG_S,))
        waiter.start()
        # Another thread drives the session meanwhile, and waits for something else.
        assert quick.result(LONG_S) == 2
        assert wait([slow, quick], LONG_S).not_done == set()
        waiter.join(LONG_S)
        assert called == [slow] and slow.result(0) is None


def test_a_result_that_is_not_there_in_time(ex, meeting):
    future = ex.submit(attend, meeting.came, meeting.go)
    with pytest.raises((TimeoutError, concurrent.futures.TimeoutError)):
        future.result(0.01)
    with pytest.raises(TimedOut):
        future.wait_durable(0.01)
    meeting.let_go()
    assert future.result(LONG_S) is True


def test_nothing_is_durable_without_a_journal(ex):
    future = ex.submit(add, 1)
    with pytest.raises(Refused, match="keeps no journal") as raised:
        future.wait_durable(LONG_S)
    assert raised.value.code == "no_journal" and future.result(0) == 2


@pytest.mark.parametrize("size", [65_530, 65_536, 65_537, 1 << 20])
def test_bytes_come_back_as_bytes_at_any_size(ex, size):
    value = bytes(range(256)) * (size // 256) + bytes(size % 256)
    found = ex.submit(bytes, value).result()
    assert type(found) is bytes and found == value
    # What stands beside it is told apart, too.
    assert ex.submit(lambda: (print("said"), value)[1]).result() == value
    assert ex.submit(lambda: [value]).result() == [value]
