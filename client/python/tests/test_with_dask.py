"""dask computes on an executor."""

import os

import pytest
from scalems_pilot import Executor

dask = pytest.importorskip("dask")
bag = pytest.importorskip("dask.bag")
array = pytest.importorskip("dask.array")


@dask.delayed
def process(number):
    return number, os.getpid()


@dask.delayed
def total(parts):
    return sum(number for number, _ in parts), {pid for _, pid in parts}


def test_delayed_functions(ex):
    (found, pids), single = dask.compute(total([process(n) for n in range(10)]), process(3), scheduler=ex)
    assert found == 45 and os.getpid() not in pids
    assert single[0] == 3


def test_arrays_and_bags(ex):
    numbers = array.arange(10_000, chunks=2_500)
    assert (numbers * 2).sum().compute(scheduler=ex) == 2 * sum(range(10_000))
    words = bag.from_sequence(["a b", "b c", "c c"], npartitions=3)
    assert dict(words.str.split().flatten().frequencies().compute(scheduler=ex)) == {"a": 1, "b": 2, "c": 3}


def test_an_error_of_a_task_is_raised(ex):
    with pytest.raises(ZeroDivisionError):
        dask.compute(dask.delayed(divmod)(1, 0), scheduler=ex)


def test_it_is_told_how_many_tasks_run_at_once(ex):
    assert ex._max_workers == 2
    assert ex.options(cores=2)._max_workers == 1
    assert ex.options(cores=0.5)._max_workers == 4


def test_views_compute_with_their_options():
    with Executor(max_workers=1) as ex:
        red = ex.options(env={"COLOUR": "red"})
        assert dask.compute(dask.delayed(os.getenv)("COLOUR"), scheduler=red) == ("red",)
