"""The entry point that a worker starts."""

import os
import sys


def main() -> None:
    if sys.version_info < (3, 9):
        sys.exit("this is Python {}.{}, and scalems_pilot needs 3.9 or later".format(*sys.version_info[:2]))
    # `-m` puts the directory in front that we happen to be in.
    if sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]
    if sys.argv[1:] == ["--modes"]:
        # What it needs to call them is looked for with them.
        from . import loop

        loop.Registry().say()
        return
    number = os.environ.pop("SCALEMS_INTERPRETER_FD", None)
    if number is None:
        sys.exit("scalems_pilot.interpreter is started by a worker, not by hand")
    from .loop import Interpreter

    Interpreter(int(number)).run()


if __name__ == "__main__":
    main()
