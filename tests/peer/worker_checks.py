"""What a worker sees of a live pilot (docs/spec/3-worker.md), with a client beside it to look from the other side."""

import contextlib
import os
import time

import msgpack
import zmq

import wire
from wire import expect, same


@contextlib.contextmanager
def joined(pilot, **options):
    """A welcomed worker that only moves when it is stepped, and a client that is attached."""
    worker = pilot.worker(**options)
    try:
        with pilot.client() as client:
            worker.until(lambda: worker.welcomed, "welcome")
            client.hello()
            yield worker, client
            if worker.welcomed:
                worker.send("goodbye", reason="the check is over")
                both(worker, client, lambda: row(client, worker) is None, "end of the worker in the list")
                worker.welcomed = False
    finally:
        # Also after a failure: the next check's tasks must not come here.
        if worker.welcomed:
            worker.send("goodbye", reason="the check failed")
        worker.close()


def row(client, worker):
    """The worker's row in the list of workers that live."""
    number = worker.welcome["worker"]
    rows = [row for row in client.workers() if row["worker"] == number]
    return rows[0] if rows else None


def both(worker, client, condition, what, seconds=wire.PATIENCE):
    """Steps the worker and takes in what the client is sent, until the condition holds."""
    deadline = wire.Deadline(seconds)
    while not (found := condition()):
        expect(not deadline.over(), f"no {what} within {seconds} s")
        worker.step(deadline, client.socket)
        while client.socket.poll(0):
            client.receive(deadline)
    return found


def compared(worker, client):
    """Beats over the DEALER, which is as good as publishing; gives how many differed once it was compared."""
    before = sum(row(client, worker)["beats"])
    worker.send("beat", **worker.next_beat())
    both(worker, client, lambda: sum(row(client, worker)["beats"]) > before, "compared beat")
    return row(client, worker)["beats"][1]


def start_sleep(worker, client, seconds=600):
    """A task that the agent knows to run on this worker; its request."""
    request = client.next_request
    client.submit("peer.sleep", msgpack.packb(seconds), streaming=True)
    both(worker, client, lambda: len(worker.running) == 1 and not worker.started, "running task")
    return request


def ending(client, request):
    ((group, _),) = client.pushed(request).values()
    return group["ending"]


def welcome_is_whole(pilot):
    with joined(pilot) as (worker, client):
        welcome = worker.welcome
        same(welcome["pilot"], worker.file.pilot, "pilot id, as the connection file has it")
        same(len(welcome["token"]), 32, "length of a token")
        expect(welcome["link"] and welcome["beat_ms"] and welcome["orphan_ms"] and welcome["lost_ms"], "a welcome without times or link")
        mine = row(client, worker)
        same((mine["name"], mine["state"], mine["pid"]), (worker.name, "active", os.getpid()), "row")
        same([kind[:2] for kind in mine["resources"]], [["cores", 2], ["memory", 1024]], "resources")


def beats_are_equal(pilot):
    with joined(pilot) as (worker, client):
        request = client.next_request
        client.batch("peer.upper", [b"x"] * 500, streaming=True)
        start_sleep(worker, client)
        client.submit("peer.hold", count=10)
        both(worker, client, lambda: len(client.pushed(request)) == 500, "results")
        both(worker, client, lambda: len(worker.leases) == 11, "leases")
        # Beats over the DEALER count as those that are published, and need not be waited for.
        for _ in range(3):
            worker.send("beat", **worker.next_beat())
            worker.publish_beat()
        both(worker, client, lambda: row(client, worker)["beats"][0] >= 5, "compared beats")
        same(row(client, worker)["beats"][1], 0, "beats that differed")
        same(row(client, worker)["leases"], [10, 1], "leases, not started and running")
        client.cancel({"last": True}, "withdraw")
        both(worker, client, lambda: len(worker.leases) == 1, "return of what was withdrawn")
        same(compared(worker, client), 0, "beats that differed after the withdrawal")


def wrong_hashes_are_put_right(pilot):
    with joined(pilot) as (worker, client):
        start_sleep(worker, client)
        client.subscribe("alarms")
        client.event("alarms", lambda event: event["body"] == "open")
        worker.wrong_hash = True
        worker.send("beat", **worker.next_beat())
        # This one alone: the next beat by the clock may come before the question.
        worker.wrong_hash = False
        both(worker, client, lambda: worker.seen["list"], "question for the holdings")
        alarm = client.event("alarms", lambda event: event["body"] != "open")["body"]["alarms"]["alarms"][-1]
        same((alarm["alarm"], alarm["about"]), ("hash_differs", worker.name), "alarm")
        both(worker, client, lambda: worker.recorded == worker.sent, "recorded reports")
        same(compared(worker, client), 1, "beats that differed, one of them before it was put right")
        same(row(client, worker)["leases"], [0, 1], "leases after it was put right")


def forged_beats_are_dropped(pilot):
    with joined(pilot) as (worker, client):
        start_sleep(worker, client)
        beat = worker.next_beat()
        worker.send("beat", **{**beat, "link": beat["link"] ^ 1, "hash": 0})

        def counted():
            return dict(client.ask("status")["counters"]).get("foreign_beats")

        both(worker, client, counted, "counter of foreign beats")
        same(row(client, worker)["beats"][1], 0, "beats that differed")


def strangers_say_hello_first(pilot):
    with joined(pilot) as (worker, _):
        with contextlib.closing(
            worker.file.open(worker.context, zmq.DEALER, worker.file.requests, worker.transport)
        ) as other:
            for message in (wire.pack("pong"), wire.pack("report", number=1)):
                other.send(message)
                expect(other.poll(10_000), "no answer")
                same(wire.unpack(other.recv())["refusal"]["code"], "hello_first", "code")
            for message, code in (
                (b"garbage", "malformed"),
                (wire.pack("submit", request=1, task={"mode": "x"}), "unknown_type"),
                (msgpack.packb({"mode": "x"}), "unknown_type"),
                (wire.pack("hello", name="x"), "malformed"),
                (wire.pack("pong", must=["colour"]), "unknown_required_field"),
            ):
                other.send(message)
                expect(other.poll(10_000), "no answer")
                same(wire.unpack(other.recv())["refusal"]["code"], code, f"code for {message!r}")


def gaps_begin_anew(pilot):
    with joined(pilot) as (worker, client):
        request = start_sleep(worker, client, 0.5)
        worker.sent += 5
        number = worker.welcome["worker"]
        worker.send("report", number=worker.sent)
        both(worker, client, lambda: worker.seen["welcome"] == 2, "second welcome")
        same(worker.welcome["worker"], number, "number of the worker")
        both(worker, client, lambda: client.pushed(request), "result")
        ((group, _),) = client.pushed(request).values()
        same((group["ending"], group["run"]["attempt"]), ("done", 1), "how it ended, and in which attempt")
        same(compared(worker, client), 0, "beats that differed")


def running_work_survives_a_reconnect(pilot):
    with joined(pilot) as (worker, client):
        request = start_sleep(worker, client, 0.5)
        worker.connect()
        both(worker, client, lambda: worker.seen["welcome"] == 2, "second welcome")
        same(worker.welcome.get("drop", []), [], "leases to drop")
        same(compared(worker, client), 0, "beats that differed while it ran on")
        both(worker, client, lambda: client.pushed(request), "result")
        ((group, _),) = client.pushed(request).values()
        same((group["ending"], group["run"]["attempt"]), ("done", 1), "how it ended, and in which attempt")
        same(compared(worker, client), 0, "beats that differed once it had ended")


def unrecorded_results_are_told_again(pilot):
    with joined(pilot) as (worker, client):
        request = start_sleep(worker, client)
        # It ends while the connection is gone.
        worker.disconnect()
        (key,) = worker.running
        worker.running[key] = 0
        worker.work()
        worker.connect()
        both(worker, client, lambda: client.pushed(request), "result")
        same(ending(client, request), "done", "how it ended")
        # It was reported, perhaps not recorded: telling it again must not make a second one.
        worker.connect()
        both(worker, client, lambda: worker.seen["welcome"] == 3, "third welcome")
        same(compared(worker, client), 0, "beats that differed")
        same(len(client.deliveries), 1, "deliveries")


def wrong_tokens_make_new_workers(pilot):
    with joined(pilot) as (worker, client):
        start_sleep(worker, client)
        number = worker.welcome["worker"]
        worker.resume = {**worker.resume, "token": bytes(32)}
        worker.hello()
        both(worker, client, lambda: worker.seen["welcome"] == 2, "second welcome")
        expect(worker.welcome["worker"] != number, "a wrong token was believed")
        expect(not worker.leases, "a new worker has leases of another")
        client.cancel({"last": True}, "kill")


def missing_leases_go_to_others(pilot):
    with joined(pilot) as (worker, client):
        request = client.next_request
        client.submit("peer.hold", streaming=True)
        both(worker, client, lambda: worker.leases, "lease")
        worker.leases.clear()
        worker.counted.clear()
        worker.hello()
        both(worker, client, lambda: worker.leases, "lease again")
        ((_, _, attempt, _),) = worker.leases
        same(attempt, 2, "attempt")
        client.cancel({"last": True}, "request")
        both(worker, client, lambda: client.pushed(request), "result")
        same(ending(client, request), "canceled", "how it ended")


def leases_that_nobody_granted_are_dropped(pilot):
    with joined(pilot) as (worker, client):
        request = start_sleep(worker, client)
        (key,) = worker.running
        foreign = (key[0], key[1], key[2] + 7, key[3])
        worker.leases[foreign] = worker.leases[key]
        worker.running[foreign] = worker.running[key]
        worker.hello()
        both(worker, client, lambda: worker.seen["welcome"] == 2, "second welcome")
        same([run["attempt"] for run in worker.welcome["drop"]], [foreign[2]], "dropped attempts")
        client.cancel({"last": True}, "kill")
        both(worker, client, lambda: client.pushed(request), "result")
        same(ending(client, request), "canceled", "how it ended")


def silent_revokes_have_no_result(pilot):
    with joined(pilot) as (worker, client):
        start_sleep(worker, client)
        (key,) = worker.running
        foreign = (key[0], key[1], key[2] + 7, key[3])
        worker.leases[foreign], worker.running[foreign] = worker.leases[key], worker.running[key]
        worker.counted[foreign] = wire.RUNNING
        worker.send("beat", **worker.next_beat())
        both(worker, client, lambda: worker.seen["revoke"], "revoke of what nobody granted")
        both(worker, client, lambda: foreign not in worker.leases, "return")
        differed = compared(worker, client)
        same(compared(worker, client), differed, "beats that differ once it was put right")
        client.cancel({"last": True}, "kill")


def late_results_are_superseded(pilot):
    with joined(pilot) as (worker, client):
        request = start_sleep(worker, client)
        (key,) = worker.running
        run = {"submission": key[1], "lo": key[3], "hi": key[3] + 1, "attempt": key[2]}
        group = {"run": run, "origin": worker.leases[key].origin, "incarnation": key[0], "ending": "done"}
        for wrong in (
            {"run": {**run, "attempt": 9}},
            {"incarnation": 99},
            {"origin": {"session": 1 << 40, "request": 1}},
            {"run": {**run, "submission": 1 << 40}},
            {"run": {**run, "hi": 3_000_000}},
            {"place": {"blob": 3, "length": 1}},
            {"ran_us": wire.MASK, "run": {**run, "attempt": 9}},
        ):
            worker.sent += 1
            worker.send("report", number=worker.sent, results=[{**group, **wrong}])
        same(row(client, worker)["state"], "active", "the worker's state")
        same(client.pushed(request) | {}, {}, "results")
        worker.running[key] = 0
        both(worker, client, lambda: client.pushed(request), "result")
        same(ending(client, request), "done", "how it ended")


def impossible_numbers_do_no_harm(pilot):
    with joined(pilot) as (worker, client):
        request = start_sleep(worker, client)
        (key,) = worker.running
        run = {"submission": key[1], "lo": key[3], "hi": key[3] + 1, "attempt": key[2]}
        group = {"run": run, "origin": worker.leases[key].origin, "incarnation": key[0], "ending": "done"}
        worker.sent += 1
        worker.send("report", number=worker.sent, results=[{**group, "ran_us": wire.MASK}])
        worker.forget(key)
        both(worker, client, lambda: client.pushed(request), "result")
        client.batch("peer.upper", [b"a", b"b"])
        both(worker, client, lambda: not worker.leases, "end of the next batch")
        expect(client.ask("status"), "the agent lives")


def dependents_see_every_end(pilot):
    with joined(pilot) as (worker, client):
        # The worker is not stepped yet, so what follows is known before anything ends; then all ends in one report.
        first = client.batch("peer.fail", [b"a", b"b", b"c"])["submission"]
        parts = [({"each": True}, 3), ({"offsets": [0, 1]}, 1), ({"offsets": [2, 3]}, 1)]
        for part, count in parts:
            for when in ("any", "ok"):
                client.submit("peer.upper", count=count, after=[{"submission": first, "when": when, **part}])
        after = {"picks": [{"first": first + 1, "last": first + 2 * len(parts), "step": 1}]}

        def ended():
            rows = client.ask({"submissions": {"select": after}})["rows"]
            return sum(row["tasks"]["done"] for row in rows), sum(row["tasks"]["canceled"] for row in rows)

        both(worker, client, lambda: ended() == (5, 5), "end of all that comes after", 3)


def stopped_workers_drain(pilot):
    with joined(pilot) as (worker, client):
        start_sleep(worker, client)
        client.submit("peer.hold", count=5)
        both(worker, client, lambda: len(worker.leases) == 6, "leases")
        (key,) = worker.running
        worker.running[key] = time.monotonic() + 0.3
        client.say("stop", id=77, worker=worker.welcome["worker"], drain_ms=5_000)
        same(client.answered("answer", lambda m: m["id"] == 77)["reply"], "stopping", "answer")
        same(row(client, worker)["state"], "draining", "state")
        both(worker, client, lambda: worker.ended, "goodbye")
        worker.welcomed = False
        both(worker, client, lambda: row(client, worker) is None, "end of the worker in the list")
        tasks = client.ask({"tasks": {"select": {"last": True}}})["rows"]
        same({task["state"] for task in tasks} <= {"ready", "leased"}, True, "states of what was returned")
        client.cancel({"last": True}, "withdraw")


ALL = [
    welcome_is_whole,
    beats_are_equal,
    wrong_hashes_are_put_right,
    forged_beats_are_dropped,
    strangers_say_hello_first,
    gaps_begin_anew,
    running_work_survives_a_reconnect,
    unrecorded_results_are_told_again,
    wrong_tokens_make_new_workers,
    missing_leases_go_to_others,
    leases_that_nobody_granted_are_dropped,
    silent_revokes_have_no_result,
    late_results_are_superseded,
    impossible_numbers_do_no_harm,
    dependents_see_every_end,
    stopped_workers_drain,
]
