"""Records of ``logging`` that a call makes."""

from __future__ import annotations

import collections
import logging
import sys
from typing import Any, Deque, Dict, Tuple

#: So many of the last ones are kept.
RECORDS = 256
BYTES = 64 << 10

Record = Tuple[float, str, str, str]


class Records(logging.Handler):
    """Keeps the last records.

    ``shown``: they are written to standard error as well, as Python does where nobody has said what becomes of them; so whoever
    follows what a call writes sees them at once.
    """

    def __init__(self, shown: bool = False) -> None:
        super().__init__()
        self._shown = shown
        self._kept: Deque[Record] = collections.deque(maxlen=RECORDS)
        self.made = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001  what cannot be shown is said, and harms nobody
            text = f"{record.msg!r} cannot be shown: {error}"
        self.made += 1
        self._kept.append((record.created, record.levelname, record.name[:256], text[: BYTES // 4]))
        if self._shown and not any(isinstance(other, logging.StreamHandler) for other in logging.root.handlers):
            try:
                sys.stderr.write(f"{record.levelname} {record.name}: {text}\n")
            except Exception:  # noqa: BLE001  it may be anything by now; the record is kept
                pass

    def take(self) -> Dict[str, Any]:
        """What was logged since the last time, as a part of a Beside."""
        size = 0
        last: list = []
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
