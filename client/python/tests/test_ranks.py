"""Functions in several ranks, with a real MPI."""

import concurrent.futures
import fractions
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import scalems_pilot
from scalems_pilot import Executor, RemoteTraceback, TaskFailed, codec

LONG_S = 60
GUIDE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "guide" / "python.md"

here = os.path.join(os.path.dirname(sys.executable), "mpiexec")
pytestmark = pytest.mark.skipif(
    not (os.path.exists(here) or shutil.which("mpiexec")), reason="there is no mpiexec: run tests/run prepare"
)


@pytest.fixture(scope="module")
def ex():
    pytest.importorskip("mpi4py", reason="there is no mpi4py: run tests/run prepare")
    with Executor(max_workers=4) as executor:
        yield executor


def share(comm, factor, offset=0):
    return fractions.Fraction(comm.allreduce(comm.Get_rank() * factor), 2) + offset


def by_name(factor, world=None):
    return world.bcast(factor if world.Get_rank() == 0 else None)


def who():
    task = scalems_pilot.current_task()
    return task.rank, task.ranks


def fail_in(comm, rank):
    if comm.Get_rank() == rank:
        raise LookupError(f"rank {rank}")
    comm.Barrier()


def test_the_three_ways_to_pass_the_communicator(ex):
    assert ex.options(ranks=3, comm=True).submit(share, 2, offset=1).result(LONG_S) == [4, 4, 4]
    assert ex.options(ranks=2, comm="world").submit(by_name, "x").result(LONG_S) == ["x", "x"]
    assert ex.options(ranks=2).submit(who).result(LONG_S) == [(0, 2), (1, 2)]
    assert ex.options(comm=True).submit(lambda comm: comm.Get_size()).result(LONG_S) == [1]


def test_an_exception_of_a_rank_is_the_tasks(ex):
    future = ex.options(ranks=2, comm=True).submit(fail_in, 1)
    with pytest.raises(LookupError, match="rank 1") as raised:
        future.result(LONG_S)
    cause = raised.value.__cause__
    assert isinstance(cause, RemoteTraceback) and cause.traceback.startswith("Rank 1 of 2:\n")
    with pytest.raises(TaskFailed, match="rank 0 of 1 ended with exit code 3") as failed:
        ex.options(comm=True).submit(lambda comm: os._exit(3)).result(LONG_S)
    assert failed.value.code == "interpreter_ended"


def test_map_and_others_beside(ex):
    two = ex.options(ranks=2, comm=True)
    beside = ex.submit(pow, 2, 5)
    assert list(two.map(share, [2, 4], chunksize=10)) == [[1, 1], [2, 2]]
    assert beside.result(LONG_S) == 32
    done, waiting = concurrent.futures.wait([two.submit(share, 2), ex.submit(abs, -1)], LONG_S)
    assert len(done) == 2 and not waiting


def test_wrong_options_are_refused(ex):
    for wrong in [{"ranks": 0}, {"ranks": True}, {"comm": False}, {"comm": ""}, {"comm": 3}]:
        with pytest.raises(ValueError):
            ex.options(**wrong)


def test_values_of_ranks_that_are_cut_off():
    values = [codec.encode(1), codec.encode(fractions.Fraction(1, 2))]
    head = b"\xc1\x04" + (2).to_bytes(4, "little") + b"".join(len(value).to_bytes(8, "little") for value in values)
    whole = head + b"".join(values)
    assert codec.decode(whole) == [1, fractions.Fraction(1, 2)]
    for cut in range(2, len(whole)):
        with pytest.raises(codec.CodecError):
            codec.decode(whole[:cut])


def test_the_recipe(tmp_path):
    found = re.search(r"^## Functions in several ranks\n.*?```python\n(.*?)```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    script = tmp_path / "recipe.py"
    script.write_text(found[1])
    ran = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=110)
    assert ran.returncode == 0, ran.stdout + ran.stderr
