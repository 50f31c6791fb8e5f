"""A backend for joblib, and so for scikit-learn: what ``joblib.Parallel`` does is done on a pilot.

::

    import joblib, scalems_pilot.joblib

    scalems_pilot.joblib.register()
    with joblib.parallel_config("scalems"):
        search.fit(X, y)
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Set

from ._functions import run_batch
from .errors import MissingPackage
from .executor import Executor, Submitter
from .future import Future

try:
    from joblib import register_parallel_backend
    from joblib.parallel import AutoBatchingMixin, ParallelBackendBase, SequentialBackend, ThreadingBackend
except ImportError as error:
    raise MissingPackage.of("joblib", error) from error

__all__ = ["NAME", "ScalemsBackend", "register"]

#: What joblib knows the backend by.
NAME = "scalems"


def register(*, make_default: bool = False) -> None:
    """Makes the backend known to joblib as ``scalems``."""
    register_parallel_backend(NAME, ScalemsBackend, make_default=make_default)


class ScalemsBackend(AutoBatchingMixin, ParallelBackendBase):
    """joblib's work on a pilot.

    By default it starts a pilot of its own on this machine when it is first needed, which ends once the backend is forgotten.
    ``pilot`` is the name of one that runs, or the path of its connection file; ``executor`` is an executor that there is, and
    stays. ``max_workers`` and all further words are those of :class:`scalems_pilot.Executor`.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(
        self,
        nesting_level: Optional[int] = None,
        inner_max_num_threads: Optional[int] = None,
        *,
        executor: Optional[Submitter] = None,
        pilot: Optional[str] = None,
        max_workers: Optional[int] = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        if executor is not None and (pilot is not None or max_workers is not None):
            raise TypeError("an executor has its pilot already: give either executor, or pilot and max_workers")
        self._executor = executor
        self._start = {"pilot": pilot, "max_workers": max_workers}
        self._options = options
        self._view: Optional[Submitter] = None
        self._running: Set[Future] = set()

    def configure(
        self, n_jobs: int = 1, parallel: Any = None, prefer: Any = None, require: Any = None, **_: Any
    ) -> int:
        """What a call of ``Parallel`` begins with: says how many tasks are under way at once."""
        if require == "sharedmem":
            raise ValueError("tasks on a pilot have no memory in common: use joblib's threading backend for this call")
        jobs = self.effective_n_jobs(n_jobs)
        self.parallel = parallel
        return jobs

    def effective_n_jobs(self, n_jobs: int) -> int:
        """How many tasks are under way at once: -1 means as many as the pilot has room for.

        Never one for that, which joblib would call here: where there is room for one, another waits at the pilot.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is not None and n_jobs > 0:
            return n_jobs
        there = self._submitter()._max_workers
        if there is None:
            raise ValueError("no worker of the pilot has joined yet that could run these tasks: say how many by n_jobs")
        return max(there + 1 + (-1 if n_jobs is None else n_jobs), 2)

    def _submitter(self) -> Submitter:
        if self._view is None:
            if self._executor is None:
                self._executor = Executor(**self._start)  # type: ignore[arg-type]
            options = {**self._options, **self._threads()}
            self._view = self._executor.options(**options) if options else self._executor
        return self._view

    def _threads(self) -> Dict[str, Any]:
        """Variables that keep the libraries below to so many threads; without a word each has those of its task's cores."""
        if self.inner_max_num_threads is None:
            return {}
        own = dict.fromkeys(self.MAX_NUM_THREADS_VARS, str(self.inner_max_num_threads))
        return {"env": {**own, **self._options.get("env", {})}}

    def submit(self, func: Callable[[], Any], callback: Optional[Callable[[Future], Any]] = None) -> Future:
        """Has a batch of calls made. It is an argument, so that its arrays are sent beside it and not copied into a pickle."""
        future = self._submitter().submit(run_batch, func)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Future) -> Any:
        """The results of a batch that has ended."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """One task failed: the others are not needed."""
        for future in list(self._running):
            future.request_cancel("another task of the same call failed")

    def terminate(self) -> None:
        """A call of ``Parallel`` is over; the pilot stays for the next one."""
        self.reset_batch_stats()

    def get_nested_backend(self) -> Any:
        """What ``Parallel`` within a task uses: threads if the task has several cores."""
        level = (self.nesting_level or 0) + 1
        cores = self._options.get("cores") or 1
        return (ThreadingBackend if level == 1 and cores > 1 else SequentialBackend)(nesting_level=level), None
