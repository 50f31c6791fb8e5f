"""Records of ``logging`` that a call makes."""

from __future__ import annotations

import collections
import logging
from typing import Any, Deque, Dict, List, Tuple

#: So many of the last ones are kept.
RECORDS = 256
BYTES = 64 << 10

Record = Tuple[float, str, str, str]


class Records(logging.Handler):
    """Keeps the last records."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: Deque[Record] = collections.deque(maxlen=RECORDS)
        self.made = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001  what cannot be shown is said, and harms nobody
            text = f"{record.msg!r} cannot be shown: {error}"
        self.made += 1
        self._kept.append((record.created, record.levelname, record.name[:256], text[: BYTES // 4]))

    def take(self) -> Dict[str, Any]:
        """What was logged since the last time, as a part of a Beside."""
        size, last = 0, []  # type: int, List[Record]
        for record in reversed(self._kept):
            size += len(record[3].encode("utf-8", "replace")) + len(record[2])
            if size > BYTES:
                break
            last.append(record)
        dropped = self.made - len(last)
        self._kept.clear()
        self.made = 0
        found: Dict[str, Any] = {"log": last[::-1]}
        if dropped:
            found["dropped"] = dropped
        return found
