"""What a task needs, by keywords, as the template of page 2 of the specification."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any, Dict, Mapping, Optional, Sequence, Union

Seconds = Union[int, float, datetime.timedelta]


@dataclasses.dataclass(frozen=True)
class Options:
    """What tasks have in common beside their function or program. Times are in seconds, memory in MiB."""

    cores: Optional[float] = None
    gpus: Optional[float] = None
    ranks: Optional[int] = None
    memory: Optional[int] = None
    walltime: Optional[Seconds] = None
    deadline: Optional[Seconds] = None
    retries: Optional[int] = None
    priority: Optional[int] = None
    name: Optional[str] = None
    labels: Optional[Mapping[str, str]] = None
    resources: Optional[Mapping[str, float]] = None
    after: Any = None
    after_when: str = "ok"
    python: Optional[str] = None
    env: Optional[Mapping[str, str]] = None
    cwd: Optional[str] = None
    comm: Union[bool, str, None] = None

    @property
    def in_ranks(self) -> bool:
        """Whether the result is a list of what ranks return."""
        return (self.ranks or 1) > 1 or self.comm is not None

    def replaced(self, **changes: Any) -> "Options":
        """The same with changes. Unknown words are refused with those that there are."""
        known = {field.name for field in dataclasses.fields(self)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise TypeError(f"no option is called {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
        return dataclasses.replace(self, **changes)

    def given(self) -> Dict[str, Any]:
        """Those that were said."""
        fields = dataclasses.fields(self)
        return {field.name: getattr(self, field.name) for field in fields if getattr(self, field.name) != field.default}

    def template(self, mode: str, body: bytes = b"") -> Dict[str, Any]:
        """The template for tasks of a mode."""
        if self.ranks is not None and (isinstance(self.ranks, bool) or not isinstance(self.ranks, int) or self.ranks < 1):
            raise ValueError(f"ranks is a number of at least 1, not {self.ranks!r}")
        if self.comm is not None and self.comm is not True and not (isinstance(self.comm, str) and self.comm):
            raise ValueError(f"comm is True, for the first argument, or the name of one, not {self.comm!r}")
        template: Dict[str, Any] = {"mode": mode}
        needs = _given(
            ranks=self.ranks,
            cores_per_rank=_amount("cores", self.cores),
            gpus_per_rank=_amount("gpus", self.gpus),
            mem_per_rank=self.memory,
            named=dict(self.resources) if self.resources else None,
        )
        policy = _given(
            time_limit_ms=milliseconds(self.walltime),
            deadline_ms=milliseconds(self.deadline),
            retries=self.retries,
            priority=self.priority,
        )
        template.update(_given(needs=needs or None, policy=policy or None, name=self.name))
        if self.labels:
            template["labels"] = dict(self.labels)
        submissions = [one for one in self.dependencies() if isinstance(one, int)]
        if submissions:
            template["after"] = [{"submission": number, "when": self.after_when} for number in submissions]
        if body:
            template["body"] = body
        return template

    def dependencies(self) -> Sequence[Any]:
        """What is to end before: futures, results of programs, or numbers of submissions."""
        if self.after is None:
            return ()
        return tuple(self.after) if isinstance(self.after, (list, tuple, set, frozenset)) else (self.after,)


def milliseconds(time: Optional[Seconds]) -> Optional[int]:
    """A time in milliseconds."""
    if time is None:
        return None
    seconds = time.total_seconds() if isinstance(time, datetime.timedelta) else time
    if not seconds > 0:
        raise ValueError(f"a time is a number of seconds above 0, not {time!r}")
    return max(1, round(seconds * 1_000))


def _amount(what: str, amount: Optional[float]) -> Optional[float]:
    if amount is None:
        return None
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise TypeError(f"{what} is a number, not {amount!r}")
    if not amount >= 0:
        raise ValueError(f"{what} is 0 or more, not {amount!r}")
    return int(amount) if float(amount).is_integer() else amount


def _given(**values: Any) -> Dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
