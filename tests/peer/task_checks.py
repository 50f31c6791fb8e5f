"""Tasks, results and events as a client sees them in a live pilot (docs/spec: 2-client, 4-events, 5-task-states)."""

import msgpack

import wire
from client import Refused, counts, picked, refused, session_name
from report import Skip
from wire import expect, same


def bare_envelope_runs(pilot):
    with pilot.client() as client:
        client.hello()
        accepted = client.envelope("peer.upper", b"hello")
        same(client.wait(accepted["submission"]), {"done": 1}, "how it ended")
        same(client.values(accepted["submission"]), [b"HELLO"], "its value")
        accepted = client.envelope("peer.upper", {"key": "value"})
        client.wait(accepted["submission"])
        same(client.values(accepted["submission"]), [msgpack.packb({"key": "value"}).upper()], "the value of a map")


def batch_runs(pilot):
    with pilot.client() as client:
        client.hello()
        items = [b"x" * (number % 7) + str(number).encode() for number in range(300)]
        number = client.batch("peer.upper", items, first=100, step=3)["submission"]
        same(client.wait(number), {"done": 300}, "how it ended")
        for rows in (0, 7):
            results = client.results(number, rows)
            same([results[at][1] for at in range(300)], [item.upper() for item in items], "values")
        one = next(client.pages("results", picked(number, 100 + 3 * 5)))
        same([group["run"]["lo"] for group in one["rows"]], [5], "index 115 is offset 5")


def array_runs(pilot):
    with pilot.client() as client:
        client.hello()
        number = client.submit("peer.upper", b"shared", count=5_000, first=1, step=2)["submission"]
        same(client.wait(number), {"done": 5_000}, "how it ended")
        results = client.results(number)
        same(sorted(results), list(range(5_000)), "offsets")
        same({value for _, value in results.values()}, {b"SHARED"}, "values")
        rows = next(client.pages("submissions", picked(number)))["rows"]
        same(rows[0]["indices"], [1, 2, 5_000], "first, step, count")
        same(counts(rows[0]["tasks"]), {"done": 5_000}, "counts")


def streaming_pushes_results(pilot):
    with pilot.client() as client:
        client.hello()
        request = client.next_request
        items = [str(number).encode() for number in range(1_000)]
        client.batch("peer.upper", items, streaming=True)
        client.until(lambda: len(client.pushed(request)) == 1_000, "1,000 results")
        values = [value for _, (_, value) in sorted(client.pushed(request).items())]
        same(values, items, "values")
        numbers = [delivery["delivery"] for delivery in client.deliveries]
        same(numbers, list(range(1, len(numbers) + 1)), "numbers of deliveries")
        client.say("ack", delivery=numbers[-1])


def large_data_goes_round(pilot):
    with pilot.client() as client:
        client.hello()
        data = bytes(range(65, 91)) * 40_000
        number = client.submit("peer.upper", data)["submission"]
        client.wait(number)
        expect(client.values(number) == [data], "1 MiB came back otherwise")


def unknown_modes_are_refused_or_noted(pilot):
    with pilot.client() as client:
        client.hello()
        try:
            accepted = client.submit("peer.nobody")
        except Refused as refusal:
            return same(refusal.code, "unknown_mode", "code")
        expect(accepted["note"].startswith("waiting_for_worker"), f"note {accepted['note']!r}")
        row = client.ask({"explain": picked(accepted["submission"])})
        same(row["row"]["state"], "ready", "state")
        expect(row["reasons"], "a reason")
        done = client.cancel(picked(accepted["submission"]), "withdraw")
        same((done["withdrawn"], done["told"]), (1, 0), "what the cancel did")
        return None


def canceled_tasks_end(pilot):
    with pilot.client() as client:
        client.hello()
        for strength in ("request", "kill"):
            number = client.submit("peer.sleep", msgpack.packb(600), streaming=True)["submission"]
            request = client.next_request - 1
            client.reaches(number, "running")
            done = client.cancel(picked(number), "withdraw")
            same((done["running"], done["withdrawn"]), (1, 0), "withdrawing what runs")
            done = client.cancel(picked(number), strength, reason="the check wants it")
            same((done["told"], done["running"]), (1, 0), "canceling what runs")
            same(client.wait(number), {"canceled": 1}, "how it ended")
            client.until(lambda: client.pushed(request), "pushed result")
            ((group, _),) = client.pushed(request).values()
            same((group["ending"], group["error"]["code"]), ("canceled", "canceled"), "result")
            done = client.cancel(picked(number), strength)
            same(done["ended"], 1, "canceling what has ended")


def dependencies_hold(pilot):
    with pilot.client() as client:
        client.hello()
        good = client.submit("peer.upper", b"a")["submission"]
        bad = client.submit("peer.fail", b"b")["submission"]
        request = client.next_request - 1
        cases = [
            ([{"submission": good}], {"done": 1}, None),
            ([{"request": request}], {"canceled": 1}, "dependency_failed"),
            ([{"submission": bad, "when": "any"}], {"done": 1}, None),
            ([{"submission": bad, "when": "failed"}, {"submission": good}], {"done": 1}, None),
            ([{"submission": good, "when": "failed"}], {"canceled": 1}, "dependency_failed"),
        ]
        for after, ended, code in cases:
            number = client.submit("peer.upper", b"after", after=after)["submission"]
            same(client.wait(number), ended, f"after {after}")
            ((group, _),) = client.results(number).values()
            same(group.get("error", {}).get("code"), code, f"error after {after}")
        refused("unknown_dependency", lambda: client.submit("peer.upper", after=[{"submission": 1 << 40}]))
        held = client.submit("peer.sleep", msgpack.packb(600))["submission"]
        waits = client.submit("peer.upper", after=[{"submission": held}])["submission"]
        client.reaches(waits, "waiting")
        client.cancel(picked(held), "kill")
        same(client.wait(waits), {"canceled": 1}, "what waited for a canceled task")


def dependencies_hold_task_by_task(pilot):
    with pilot.client() as client:
        client.hello()
        first = client.batch("peer.flaky", [b"", b"", b""])["submission"]
        number = client.submit("peer.upper", count=3, after=[{"submission": first, "each": True}])["submission"]
        same(client.wait(number), {"canceled": 3}, "after three that fail")
        first = client.submit("peer.upper", count=3)["submission"]
        number = client.submit("peer.upper", count=3, after=[{"submission": first, "each": True}])["submission"]
        same(client.wait(number), {"done": 3}, "after three that do not")
        after = [{"submission": first, "each": True}]
        refused("invalid_value", lambda: client.submit("peer.upper", count=2, after=after))


def retries_are_charged(pilot):
    with pilot.client() as client:
        client.hello()
        for retries, ended, attempt in ((2, "done", 3), (1, "failed", 2)):
            number = client.submit("peer.flaky", b"!", policy={"retries": retries})["submission"]
            same(client.wait(number), {ended: 1}, f"with {retries} retries")
            ((group, _),) = client.results(number).values()
            same(group["run"]["attempt"], attempt, "attempt")
        number = client.submit("peer.fail", b"!", policy={"retries": 5})["submission"]
        client.wait(number)
        ((group, _),) = client.results(number).values()
        same(group["run"]["attempt"], 1, "attempt of what need not be tried again")


def deadlines_end_tasks(pilot):
    with pilot.client() as client:
        client.hello()
        policy = {"deadline_ms": 200}
        number = client.submit("peer.sleep", msgpack.packb(600), policy=policy)["submission"]
        expect(client.wait(number) in ({"canceled": 1}, {"failed": 1}), "it outlived its deadline")


def forgotten_is_gone(pilot):
    with pilot.client() as client:
        client.hello()
        number = client.submit("peer.upper", count=3)["submission"]
        client.wait(number)
        done = client.request("forget", "forget_done", select=picked(number))
        same((done["forgotten"], done["kept"]), (3, 0), "what the forget did")
        refused("nothing_selected", lambda: client.ask({"results": {"select": picked(number)}}))
        refused("nothing_selected", lambda: client.request("forget", "forget_done", select={}))


def waits_time_out(pilot):
    with pilot.client() as client:
        client.hello()
        number = client.submit("peer.sleep", msgpack.packb(600))["submission"]
        refused("timed_out", lambda: client.wait(number, 0.05))
        client.cancel(picked(number), "kill")
        client.wait(number)


def selectors_select(pilot):
    with pilot.client() as client:
        client.hello()
        mark = session_name("label")
        template = {"name": f"dock-{mark}", "labels": {"mark": mark}}
        number = client.submit("peer.upper", b"s", count=10, first=10, **template)["submission"]
        client.wait(number)
        for select in ({"label": ["mark", mark]}, {"name": f"dock*{mark[-4:]}"}, {"last": True}, picked(number)):
            rows = next(client.pages("submissions", select))["rows"]
            same([row["submission"] for row in rows], [number], f"submissions of {select}")
        select = {"picks": [{"first": number, "last": number, "step": 1, "indices": [11, 19, 4]}], "state": "done"}
        rows = next(client.pages("tasks", select))["rows"]
        same([offset for row in rows for offset in wire.offsets(row["run"])], [1, 5, 9], "offsets of 11, 15, 19")
        refused("nothing_selected", lambda: client.ask({"tasks": {"select": {"label": ["mark", "no"]}}}))


def events_follow_a_submission(pilot):
    with pilot.client() as client:
        client.hello()
        number = client.submit("peer.sleep", msgpack.packb(600))["submission"]
        topic = f"submission/{number}"
        client.subscribe(topic)
        opened = client.event(topic, lambda e: e["body"] == "open")
        same(opened["incarnation"], client.welcome["incarnation"], "incarnation")
        snapshot = client.ask({"snapshot": topic})
        expect(snapshot["seq"] >= opened["seq"], "a snapshot is not older than the opening")
        same(counts(snapshot["state"]["tasks"]["counts"]).keys() <= {"ready", "leased", "running"}, True, "state")
        client.cancel(picked(number), "kill")
        seq, ended = snapshot["seq"], False
        while not ended:
            event = client.event(topic, lambda e: e["seq"] > seq)
            same(event["seq"], seq + 1, "events have no gap")
            seq, tasks = event["seq"], event["body"]["tasks"]
            ended = tasks["runs"] and all(state == "canceled" for _, state in tasks["runs"])
            expect(not ended or counts(tasks["counts"]) == {"canceled": 1}, "counts of the end")
        refused("invalid_value", lambda: client.ask({"snapshot": "nothing"}))


def events_summarize(pilot):
    with pilot.client() as client:
        client.hello()
        for topic in ("summary", "submissions", "workers", "alarms", "faults", "health"):
            client.subscribe(topic)
            client.event(topic, lambda e: e["body"] == "open")
            (name,) = client.ask({"snapshot": topic})["state"]
            same(name, topic, "state of a snapshot")
        client.submit("peer.upper", b"x", count=10)
        summary = client.event("summary", lambda e: e["body"] != "open")["body"]["summary"]
        expect(sum(summary["tasks"].values()) >= 10 and summary["workers"][0] >= 1, f"summary {summary}")


def messages_to_clients_are_within_limits(pilot):
    with pilot.client() as client:
        client.hello()
        request = client.next_request
        items = [bytes([97 + number % 26]) * 4_000 for number in range(400)]
        client.batch("peer.fail", items, streaming=True)
        client.until(lambda: len(client.pushed(request)) == 400, "400 results with long errors")
        number = client.batch("peer.fail", items)["submission"]
        client.wait(number)
        same(len(client.results(number)), 400, "the same, asked for")
        rows = [row for page in client.pages("tasks", picked(number)) for row in page["rows"]]
        same(sum(len(wire.offsets(row["run"])) for row in rows), 400, "the same, listed")


def modes_of_ours(pilot):
    with pilot.client() as client:
        client.hello()
        if "scalems.echo" not in client.welcome["modes"]:
            raise Skip("no worker of ours serves here")
        number = client.batch("scalems.echo", [b"a", b"bb", b""])["submission"]
        client.wait(number)
        same(client.values(number), [b"a", b"bb", b""], "echo")
        number = client.submit("scalems.sleep", b"0.01")["submission"]
        same(client.wait(number), {"done": 1}, "sleep")
        number = client.submit("scalems.fail", b"boom")["submission"]
        same(client.wait(number), {"failed": 1}, "fail")
        if "task.shell" not in client.welcome["modes"]:
            return "the modes that run programs are not served here"
        program = {"argv": ["echo out; echo err >&2; exit 3"]}
        number = client.envelope("task.shell", program)["submission"]
        same(client.wait(number), {"failed": 1}, "how the command line ended")
        ((group, value),) = client.results(number).values()
        value = msgpack.unpackb(value)
        same((group["exit_code"], group["error"]["code"]), (3, "exit_code"), "its group")
        same((value["exit_code"], value["stdout"], value["stderr"]), (3, b"out\n", b"err\n"), "its value")
        program = {"argv": ["cat"], "stdin": {"data": b"in"}}
        number = client.envelope("task.executable", program)["submission"]
        client.wait(number)
        ((_, value),) = client.results(number).values()
        same(msgpack.unpackb(value)["stdout"], b"in", "what cat wrote")
        number = client.envelope("task.executable", {"argv": ["no-such-program-anywhere"]})["submission"]
        client.wait(number)
        ((group, _),) = client.results(number).values()
        same(group["error"]["code"], "not_started", "a program that is not there")
        return None


ALL = [
    bare_envelope_runs,
    batch_runs,
    array_runs,
    streaming_pushes_results,
    large_data_goes_round,
    unknown_modes_are_refused_or_noted,
    canceled_tasks_end,
    dependencies_hold,
    dependencies_hold_task_by_task,
    retries_are_charged,
    deadlines_end_tasks,
    forgotten_is_gone,
    waits_time_out,
    selectors_select,
    events_follow_a_submission,
    events_summarize,
    messages_to_clients_are_within_limits,
    modes_of_ours,
]
