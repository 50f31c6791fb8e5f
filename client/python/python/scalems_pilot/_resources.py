"""How much of a pilot tasks take, and what executorlib calls that."""

from __future__ import annotations

import inspect
import math
import time
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

import msgpack

from . import _native
from ._options import Options
from .errors import TimedOut

#: How long the first worker of a pilot may take to join, seconds.
JOIN_S = 5.0
#: What executorlib has in its resource dictionaries, as options.
EXECUTORLIB = {
    "cores": "ranks",
    "threads_per_core": "cores",
    "gpus_per_core": "gpus",
    "cwd": "cwd",
    "run_time_max": "walltime",
    "priority": "priority",
}
#: What it has besides, and why it is not followed.
UNFOLLOWED = {
    "cache_directory": "results are not kept by their inputs",
    "cache_key": "results are not kept by their inputs",
    "error_log_file": "errors are in future.stderr, and shown by `scalems logs`",
    "exclusive": "say how many cores are needed",
    "num_nodes": "the pilot says where ranks run",
    "openmpi_oversubscribe": "say how many cores are needed",
    "restart_limit": "say it by options(retries=...)",
    "slurm_cmd_args": "the batch system starts pilots, not tasks",
    "submission_template": "the batch system starts pilots, not tasks",
}


def options_of(resources: Mapping[str, Any]) -> Dict[str, Any]:
    """An executorlib resource dictionary as options. Raises :class:`TypeError` for what it cannot have.

    Its cores are processes under MPI, each of which calls the function: our ranks; its threads per core are our cores.

    >>> options_of({"cores": 2, "threads_per_core": 4, "cwd": None})
    {'ranks': 2, 'cores': 4}
    """
    if not isinstance(resources, Mapping):
        raise TypeError(f"resource_dict is a dictionary, not {resources!r}")
    made: Dict[str, Any] = {}
    for key, value in resources.items():
        if value is None:
            continue
        if key in EXECUTORLIB:
            made[EXECUTORLIB[key]] = value
        elif key not in UNFOLLOWED:
            raise TypeError(f"resource_dict has no {key!r}; there are: {', '.join(EXECUTORLIB)}")
        elif value not in (False, 0, "", []):
            raise TypeError(f"resource_dict has {key!r}, which scalems does not follow: {UNFOLLOWED[key]}")
    return made


def is_free(function: Callable[..., Any]) -> bool:
    """Whether the word ``resource_dict`` is not one of the function's own."""
    try:
        return "resource_dict" not in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return True


def capacity(totals: Mapping[str, float], options: Options) -> int:
    """How many tasks with these options run at once where there is so much of each kind; 0: none.

    >>> capacity({"cores": 8, "gpus": 2}, Options(cores=2, gpus=1))
    2
    """
    ranks = options.ranks or 1
    each = {"cores": 1 if options.cores is None else options.cores, "gpus": options.gpus, "memory": options.memory}
    needs = {kind: amount * ranks for kind, amount in each.items() if amount}
    needs.update(options.resources or {})
    fit = [math.floor(totals.get(kind, 0) / amount) for kind, amount in needs.items() if amount]
    return min(fit) if fit else math.floor(totals.get("cores", 0))


def places(session: "_native.Session", options: Options) -> Optional[int]:
    """How many tasks with these options a pilot runs at once; none if it has no worker that could run one.

    Waits up to 5 s for the first worker to join.
    """
    until = time.monotonic() + JOIN_S
    events: Any = None
    while True:
        status = msgpack.unpackb(session.status())
        left = until - time.monotonic()
        if status["workers"][0] or left <= 0:
            return capacity(_totals(status), options) or None
        # Its first is the state, which is there at once; each further one is a change.
        events = events or session.events("workers")
        try:
            if events.next(left) is None:
                return None
        except TimedOut:
            return None


def _totals(status: Mapping[str, Any]) -> Dict[str, float]:
    rows: Sequence[Sequence[Any]] = [*status["resources"], *status.get("fractions", ())]
    return {row[0]: float(row[1]) for row in rows}
