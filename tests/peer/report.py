"""Runs checks, prints one line each, and counts."""

import time
import traceback

import wire


class Skip(Exception):
    """A check that cannot be made here, and why."""


def run(checks):
    """Runs pairs of a name and a function; 0 if none failed."""
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    for name, check in checks:
        begun = time.monotonic()
        try:
            why = check()
            outcome = "skip" if why else "ok"
        except Skip as skipped:
            outcome, why = "skip", str(skipped)
        except Exception as error:  # whatever a check meets is its failure, and the next one still runs
            outcome, why = "FAIL", f"{type(error).__name__}: {error}"
            if not isinstance(error, wire.Trouble):
                why += "\n" + traceback.format_exc()
        counts[outcome] += 1
        print(f"{outcome:4} {name} ({time.monotonic() - begun:.2f} s){': ' + why if why else ''}", flush=True)
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skip']} skipped")
    return 1 if counts["FAIL"] else 0
