"""An executor for Parsl: its apps run on a pilot.

::

    import parsl
    from parsl.config import Config
    from scalems_pilot.parsl import ScalemsExecutor

    with parsl.load(Config(executors=[ScalemsExecutor(pilot="night")])):
        ...
"""

from __future__ import annotations

import functools
import os
from typing import Any, Callable, Dict, List, Optional

from .errors import MissingPackage
from .executor import Executor
from .future import Future

try:
    from parsl.executors.base import ParslExecutor
    from parsl.executors.errors import InvalidResourceSpecification, ScalingFailed
    from parsl.jobs.states import JobState, JobStatus
    from parsl.utils import RepresentationMixin
except ImportError as error:
    raise MissingPackage.of("parsl", error) from error

__all__ = ["ScalemsExecutor"]

#: What ``parsl_resource_specification`` of an app may say, each as an option of the same name.
RESOURCES = (
    *("cores", "gpus", "ranks", "memory", "resources"),
    *("walltime", "retries", "priority", "name", "labels", "python", "env"),
)


class ScalemsExecutor(ParslExecutor, RepresentationMixin):
    """Parsl's apps on a pilot.

    Without ``pilot`` it starts one of its own on this machine when Parsl loads it, with ``max_workers`` cores; ``pilot`` is
    the name of one that runs, or the path of its connection file. ``options`` are those of
    :meth:`scalems_pilot.Executor.options`, for all apps; an app's ``parsl_resource_specification`` says what its own calls
    need, in the same words. Apps run in ``working_dir``, by default in the directory that Parsl was loaded in.
    """

    def __init__(
        self,
        label: str = "scalems",
        pilot: Optional[str] = None,
        max_workers: Optional[int] = None,
        options: Optional[Dict[str, Any]] = None,
        working_dir: Optional[str] = None,
        storage_access: Optional[List[Any]] = None,
        remote_monitoring_radio: Optional[Any] = None,
    ) -> None:
        super().__init__()
        self.label = label
        self.pilot = pilot
        self.max_workers = max_workers
        self.options = options
        self.working_dir = working_dir
        self.storage_access = storage_access
        self.remote_monitoring_radio = remote_monitoring_radio
        self._executor: Optional[Executor] = None

    def start(self) -> None:
        """Connects to the pilot, or starts it."""
        options = {"cwd": self.working_dir or os.getcwd(), **(self.options or {})}
        self._executor = Executor(self.pilot, max_workers=self.max_workers, **options)

    def submit(
        self, func: Callable[..., Any], resource_specification: Dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future:
        """Has an app's function called. Raises Parsl's ``InvalidResourceSpecification`` for words that it does not know."""
        executor = self._started()
        unknown = set(resource_specification or ()) - set(RESOURCES)
        if unknown:
            raise InvalidResourceSpecification(unknown, f"a call on a pilot may say: {', '.join(RESOURCES)}")
        view = executor.options(**resource_specification) if resource_specification else executor
        if "resource_dict" in kwargs:
            # Of the app's own: it is no word to the executor.
            func, kwargs = functools.partial(func, **kwargs), {}
        return view.submit(func, *args, **kwargs)

    def shutdown(self, block: bool = True) -> None:
        """Takes nothing more. Without `block` it does not wait for what was submitted, which ends all the same."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=block)
        super().shutdown()

    def monitor_resources(self) -> bool:
        """An app runs in a process of its own, whose use of the machine may be watched."""
        return True

    # What Parsl asks of executors that have blocks. Here the pilot is the only one, and Parsl does not end it.

    def outstanding(self) -> int:
        """How many calls have not ended."""
        return 0 if self._executor is None else len(self._executor._connection.pending)

    def status(self) -> Dict[str, JobStatus]:
        """The state of the pilot, by its name."""
        if self._executor is None:
            return {}
        over = self._executor._connection.session.over
        state = JobStatus(JobState.RUNNING) if over is None else JobStatus(JobState.COMPLETED, message=over)
        return {self._executor.pilot: state}

    def scale_out(self, blocks: int) -> List[str]:
        """Is refused: a pilot gets workers by ``scalems worker request``, or is started with more."""
        raise ScalingFailed(self, "a pilot is not scaled by Parsl: use `scalems worker request`")

    def scale_in(self, blocks: int) -> List[str]:
        """Is refused, as :meth:`scale_out`."""
        raise ScalingFailed(self, "a pilot is not scaled by Parsl: use `scalems worker stop`")

    def _started(self) -> Executor:
        if self._executor is None:
            raise RuntimeError(f"executor {self.label} is not started: Parsl starts it when its configuration is loaded")
        return self._executor
