"""The same for :mod:`asyncio`."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator, Callable, Iterable, Optional, Union

from . import executor

__all__ = ["Executor"]


class Executor:
    """An executor whose futures are awaited. ``async with`` starts it and ends it::

        async with aio.Executor() as ex:
            print(await ex.submit(pow, 2, 10))
    """

    def __init__(self, pilot: Optional[str] = None, **how: Any) -> None:
        self._how = {"pilot": pilot, **how}
        self._executor: Optional[executor.Submitter] = None

    async def __aenter__(self) -> "Executor":
        loop = asyncio.get_running_loop()
        self._executor = await loop.run_in_executor(None, lambda: executor.Executor(**self._how))
        return self

    async def __aexit__(self, kind: Any, *_: Any) -> None:
        # What was awaited for is not, any more.
        await self.shutdown(cancel_futures=kind is not None)

    @property
    def sync(self) -> executor.Submitter:
        """The executor of :mod:`concurrent.futures` below."""
        if self._executor is None:
            raise RuntimeError("the executor is not started: use it by `async with`")
        return self._executor

    def options(self, **changes: Any) -> "Executor":
        """The same executor with other options."""
        view = Executor()
        view._executor = self.sync.options(**changes)
        return view

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "asyncio.Future[Any]":
        """Has a function called; await what this returns. Canceled, the task is taken back if it has not begun."""
        return asyncio.wrap_future(self.sync.submit(fn, *args, **kwargs))

    async def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        chunksize: int = 1,
        buffersize: Optional[int] = None,
        progress: Union[bool, str] = False,
    ) -> AsyncIterator[Any]:
        """The results for all items, in order, as they come."""
        loop = asyncio.get_running_loop()
        results = self.sync.map(fn, *iterables, chunksize=chunksize, buffersize=buffersize, progress=progress)
        end = object()
        while True:
            # In a thread: the next one may have to be waited for.
            result = await loop.run_in_executor(None, next, results, end)
            if result is end:
                return
            yield result

    async def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes nothing more."""
        loop = asyncio.get_running_loop()
        sync = self.sync
        await loop.run_in_executor(None, lambda: sync.shutdown(wait, cancel_futures=cancel_futures))
