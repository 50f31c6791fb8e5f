"""What notebooks show of pilots, executors, tasks. All text that comes from elsewhere is escaped here."""

from __future__ import annotations

import html
from typing import Any, Iterable, Tuple

#: The end of what a task wrote that is shown.
TEXT = 2_000


def shown(what: str, name: str, state: str, rows: Iterable[Tuple[Any, Any]] = (), text: str = "") -> str:
    """A line with a name, a table below it, and what was written."""
    made = [f"<b>{html.escape(what)} {html.escape(name)}</b>: {html.escape(state)}"]
    cells = [f"<tr><td>{html.escape(str(left))}</td><td>{html.escape(str(right))}</td></tr>" for left, right in rows]
    if cells:
        made.append(f"<table>{''.join(cells)}</table>")
    if text:
        made.append(f"<pre>{html.escape(text[-TEXT:])}</pre>")
    return "".join(made)
