"""What functions cost, beside ProcessPoolExecutor in the same run: a JSON line for each measurement.

``python client/python/benchmarks/functions.py [--repeats N] [--only NAME]``; use a package that was built with optimization.
Of several repeats the median counts, and all are told.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List

import scalems_pilot


def noop(*_: Any) -> None:
    """Nothing."""


def same(value: Any) -> Any:
    """What it is given."""
    return value


def submit(ex: concurrent.futures.Executor) -> float:
    """Functions that are submitted one by one, per second, until all have results."""
    count = 30_000
    began = time.perf_counter()
    futures = [ex.submit(noop) for _ in range(count)]
    for future in futures:
        future.result()
    return count / (time.perf_counter() - began)


def chunks(ex: concurrent.futures.Executor) -> float:
    """Items of map in chunks of 100, per second."""
    count = 1_000_000
    began = time.perf_counter()
    got = sum(1 for _ in ex.map(same, range(count), chunksize=100))
    assert got == count
    return count / (time.perf_counter() - began)


def round_trip(ex: concurrent.futures.Executor) -> float:
    """Milliseconds from submit to result, one at a time, median."""
    times = []
    for _ in range(2_000):
        began = time.perf_counter()
        ex.submit(noop).result()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3


def mebibyte(ex: concurrent.futures.Executor) -> float:
    """Calls with 1 MiB in and out, per second."""
    count, value = 500, os.urandom(1 << 20)
    began = time.perf_counter()
    futures = [ex.submit(same, value) for _ in range(count)]
    for future in futures:
        assert len(future.result()) == 1 << 20
    return count / (time.perf_counter() - began)


FIRST = """
import time
began = time.perf_counter()
{make}
with ex:
    ex.submit(pow, 2, 2).result()
    print((time.perf_counter() - began) * 1e3)
"""
MAKERS = {
    "scalems": "import scalems_pilot\nex = scalems_pilot.Executor()",
    "process_pool": "import concurrent.futures\nex = concurrent.futures.ProcessPoolExecutor()",
}


def first(rival: str) -> float:
    """Milliseconds from nothing running to the first result, import included."""
    out = subprocess.run([sys.executable, "-c", FIRST.format(make=MAKERS[rival])], check=True, stdout=subprocess.PIPE)
    return float(out.stdout)


MEASURED: Dict[str, Callable[[concurrent.futures.Executor], float]] = {
    "submit_per_s": submit,
    "map_chunks_of_100_items_per_s": chunks,
    "round_trip_ms": round_trip,
    "mebibyte_in_and_out_per_s": mebibyte,
}


def tell(name: str, rival: str, values: List[float]) -> None:
    """Prints a line."""
    line = {
        "measured": name,
        "of": rival,
        "median": round(statistics.median(values), 3),
        "all": [round(value, 3) for value in values],
        "cpus": os.cpu_count(),
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    makers: Dict[str, Callable[[], concurrent.futures.Executor]] = {
        "scalems": scalems_pilot.Executor,
        "process_pool": concurrent.futures.ProcessPoolExecutor,
    }
    for rival, make in makers.items():
        with make() as ex:
            concurrent.futures.wait([ex.submit(noop) for _ in range(200)])
            for name, measure in MEASURED.items():
                if args.only in name:
                    tell(name, rival, [measure(ex) for _ in range(args.repeats)])
    if args.only in "first_result_ms":
        for rival in makers:
            tell("first_result_ms", rival, [first(rival) for _ in range(args.repeats)])


if __name__ == "__main__":
    main()
