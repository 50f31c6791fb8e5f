"""How far tasks are, as a bar in a terminal or notebook. tqdm draws it."""

from __future__ import annotations

import concurrent.futures
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, Optional, Union

from .errors import MissingPackage, TimedOut
from .program import ProgramResult

if TYPE_CHECKING:
    from .pilot import Array

#: How often a bar is drawn anew that is not told of each end, seconds.
DRAW_S = 0.25
#: Characters of what is written beside a bar.
LABEL = 60

Show = Optional[bool]


class Bar:
    """How many of the tasks have ended, how many of them not well, at what rate, and how long the others take.

    It is on standard error, or in the notebook. ``show`` none: only if there is somebody to see it.
    """

    def __init__(self, total: Optional[int] = None, label: str = "", show: Show = None) -> None:
        self.ended = 0
        self.failed = 0
        self._lock = threading.Lock()
        self._drawn = _drawn(total, label) if is_seen(show) else None

    def count(self, ended: int = 1, failed: int = 0) -> None:
        """So many more have ended, so many of them not well. From any thread."""
        with self._lock:
            self.ended += ended
            self.failed += failed
            drawn = self._drawn
            if drawn is None:
                return
            if failed:
                drawn.set_postfix_str(f"{self.failed} failed", refresh=False)
            drawn.update(ended)

    def close(self) -> None:
        """It stays as it is."""
        with self._lock:
            drawn, self._drawn = self._drawn, None
            if drawn is not None:
                drawn.refresh()
                drawn.close()

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def progress(
    tasks: Iterable["concurrent.futures.Future[Any]"], *, label: str = "", show: Show = None
) -> Iterator["concurrent.futures.Future[Any]"]:
    """The futures as they end, as :func:`concurrent.futures.as_completed`, with a bar that tells how far they are.

    The bar is on standard error if that is a terminal, or in the notebook; elsewhere nothing is shown. ``show`` true: always;
    false: never. It needs tqdm where it is shown, else :class:`MissingPackage` is raised.
    """
    futures = list(dict.fromkeys(tasks))
    bar = Bar(len(futures), label, show)
    return _as_ended(futures, bar)


def _as_ended(futures: Any, bar: Bar) -> Iterator["concurrent.futures.Future[Any]"]:
    with bar:
        for future in concurrent.futures.as_completed(futures):
            bar.count(1, not is_well(future))
            yield future


def is_well(future: "concurrent.futures.Future[Any]") -> bool:
    """Whether a future that is done ended well; that of a program if the program did."""
    if future.cancelled() or future.exception() is not None:
        return False
    result = future.result()
    return result.ok if isinstance(result, ProgramResult) else True


def watched(
    futures: Iterator[Any], bar: Bar, size: int, total: Optional[int]
) -> Iterator["concurrent.futures.Future[Any]"]:
    """The same futures, of which the bar counts the items as they end: ``size`` each, but for the last one."""
    left = total
    for future in futures:
        items = size if left is None else min(size, left)
        if left is not None:
            left -= items
        future.add_done_callback(_counting(bar, items, size > 1))
        yield future


def _counting(bar: Bar, items: int, chunked: bool) -> Callable[[Any], None]:
    def count(future: "concurrent.futures.Future[Any]") -> None:
        if is_well(future):
            # The last chunk of items that nobody could count may have fewer.
            bar.count(len(future.result()) if chunked else items)
        else:
            bar.count(items, items)

    return count


def until_closed(results: Iterator[Any], bar: Bar) -> Iterator[Any]:
    """The same results; the bar is closed after the last one."""
    with bar:
        yield from results


def length(iterables: Iterable[Iterable[Any]]) -> Optional[int]:
    """How many items there are to map, if all of the iterables that end say so."""
    lengths = [len(one) if hasattr(one, "__len__") else None for one in iterables]  # type: ignore[arg-type]
    known = [one for one in lengths if one is not None]
    return min(known) if known and len(known) == len(lengths) else None


def watch_array(array: "Array", wait: Callable[[float], None], timeout: Optional[float], show: Show) -> None:
    """Waits for the end of an array, with a bar. ``wait`` waits for so long, and raises :class:`TimedOut`."""
    until = None if timeout is None else time.monotonic() + timeout
    with Bar(len(array), show=show) as bar:
        while True:
            left = DRAW_S if until is None else min(DRAW_S, until - time.monotonic())
            try:
                wait(max(left, 0))
                return
            except TimedOut:
                if until is not None and time.monotonic() >= until:
                    raise
            finally:
                _count_array(bar, array.counts())


def _count_array(bar: Bar, counts: Dict[str, int]) -> None:
    failed = counts["failed"] + counts["canceled"] + counts["without_result"]
    ended = counts["done"] + failed
    bar.count(ended - bar.ended, failed - bar.failed)


def is_seen(show: Union[bool, None]) -> bool:
    """Whether a bar is to be drawn."""
    if show is not None:
        return show
    return _in_notebook() or sys.stderr.isatty()


def _in_notebook() -> bool:
    # As tqdm finds it.
    return "ipykernel.zmqshell" in sys.modules


def _drawn(total: Optional[int], label: str) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise MissingPackage(
            f"a progress bar needs tqdm ({error}): install it by pip install 'scalems-pilot[progress]'"
        ) from error
    # What a terminal would take for a command is not shown.
    text = "".join(character if character.isprintable() else "?" for character in label[:LABEL])
    return tqdm(total=total, desc=text or None, unit=" tasks", dynamic_ncols=True)
