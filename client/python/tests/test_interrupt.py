"""Ctrl-C, exits and forks: nothing hangs, nothing is left running."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

WITHIN_S = 60


def child(tmp_path, text):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(text))
    return subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


WAITING = {
    "a result": "future.result()",
    "wait": "concurrent.futures.wait([future])",
    "map": "list(ex.map(time.sleep, [1000, 1000]))",
    "an array": "scalems_pilot.connect(ex._embedded.connection).array(['sleep', '1000'], 3).wait()",
    "shutdown": "ex.shutdown()",
    "events": "[event for event in scalems_pilot.connect(ex._embedded.connection).events('alarms')]",
}


@pytest.mark.parametrize("where", sorted(WAITING))
def test_ctrl_c_ends_a_script(tmp_path, where):
    process = child(
        tmp_path,
        f"""
        import concurrent.futures, time, scalems_pilot
        with scalems_pilot.Executor(max_workers=1) as ex:
            ex.submit(pow, 2, 2).result()
            print(ex._embedded.pid, flush=True)
            future = ex.submit(time.sleep, 1000)
            try:
                {WAITING[where]}
            except KeyboardInterrupt:
                print("interrupted", flush=True)
                raise
        """,
    )
    pilot = int(process.stdout.readline())
    # It may come a little before the wait has begun: that is an interrupt too.
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=WITHIN_S)
    assert process.returncode != 0 and "KeyboardInterrupt" in errors, out + errors
    assert not os.path.exists(f"/proc/{pilot}")


def test_a_script_that_is_killed_takes_its_pilot_along(tmp_path):
    process = child(
        tmp_path,
        """
        import time, scalems_pilot
        ex = scalems_pilot.Executor(max_workers=1)
        future = ex.submit(time.sleep, 1000)
        ex.wait_accepted()
        print(ex._embedded.pid, flush=True)
        future.result()
        """,
    )
    pilot = int(process.stdout.readline())
    watched = os.pidfd_open(pilot) if hasattr(os, "pidfd_open") else None
    process.kill()
    process.communicate(timeout=WITHIN_S)
    if watched is not None:
        import select

        assert select.select([watched], [], [], WITHIN_S)[0]
        os.close(watched)


def test_a_script_without_shutdown_ends(tmp_path):
    process = child(
        tmp_path,
        """
        import scalems_pilot
        ex = scalems_pilot.Executor(max_workers=1)
        future = ex.submit(pow, 2, 3)
        future.add_done_callback(lambda f: print(f.result(), flush=True))
        """,
    )
    out, errors = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, out) == (0, "8\n"), errors


def test_a_forked_process_is_told(tmp_path):
    process = child(
        tmp_path,
        """
        import os, scalems_pilot
        with scalems_pilot.Executor(max_workers=1) as ex:
            ex.submit(pow, 2, 2).result()
            child = os.fork()
            if child == 0:
                try:
                    ex.submit(pow, 2, 2)
                except scalems_pilot.ForkedSession:
                    os._exit(7)
                os._exit(8)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), ex.submit(pow, 3, 2).result())
        """,
    )
    out, errors = process.communicate(timeout=WITHIN_S)
    assert out == "7 9\n", errors
