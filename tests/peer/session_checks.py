"""Sessions and requests as a client sees them in a live pilot (docs/spec/1-bus.md, 2-client.md)."""

import msgpack
import zmq

import vectors
import wire
from client import Refused, picked, refused, session_name
from wire import expect, same


def version_comes_before_hello(pilot):
    with pilot.client() as client:
        client.say("version", id=7)
        answer = client.answered("answer", lambda m: m["id"] == 7)
        low, high = answer["reply"]["version"]["protocol"]
        expect(low <= wire.VERSION <= high, f"version 1 is not served, {low} to {high} are")


def nothing_else_comes_before_hello(pilot):
    with pilot.client() as client:
        client.say("ask", id=1, question="status")
        same(client.refusal()["refusal"]["code"], "hello_first", "code")
        client.send(msgpack.packb({"mode": "peer.upper"}))
        same(client.refusal()["refusal"]["code"], "hello_first", "code")


def welcome_is_whole(pilot):
    with pilot.client() as client:
        welcome = client.hello()
        same(welcome["pilot"], client.file.pilot, "pilot id, as the connection file has it")
        same(len(welcome["resume"]["token"]), 32, "length of a token")
        same((welcome["request_high"], welcome["delivery_next"]), (0, 1), "numbers of a new session")
        same(welcome["window"], [16_384, 64 << 20], "window")
        expect("peer.upper" in welcome["modes"], f"modes are {welcome['modes']}")


def malformed_headers_are_answered(pilot):
    for vector in vectors.read("refusals"):
        if vector["direction"] != "client_to_agent":
            continue
        # Each in a session of its own: a refused envelope uses a request number up.
        with pilot.client() as client:
            client.hello()
            client.send(vectors.refused_header(vector))
            same(client.refusal()["refusal"]["code"], vector["code"], vector["name"])
            expect(client.ask("status")["clients"] >= 1, "the agent counts its clients")


def too_many_and_too_large_frames_are_answered(pilot):
    with pilot.client() as client:
        client.hello()
        client.say("version", *[b""] * 1_089, id=1)
        same(client.refusal()["refusal"]["code"], "too_large", "1,089 blobs")
        client.say("version", bytes((64 << 20) + 1), id=2)
        same(client.refusal()["refusal"]["code"], "too_large", "a blob over 64 MiB")
        client.send(msgpack.packb({"mode": "peer.upper"}), b"data")
        same(client.refusal()["refusal"]["code"], "malformed", "an envelope with a blob")


def repeated_requests_do_nothing_more(pilot):
    with pilot.client() as client:
        client.hello()
        first = client.submit("peer.upper", b"once")
        again = client.submit("peer.upper", b"once", number=first["request"])
        same(again, first, "the answer to a repeat")
        again = client.submit("peer.fail", b"something else", number=first["request"])
        same(again["submission"], first["submission"], "a repeat goes by its number")
        gap = refused("request_number", lambda: client.submit("peer.upper", number=first["request"] + 2))
        same(gap.message["request"], first["request"] + 2, "number in the refusal")
        second = client.submit("peer.upper", b"", low_water=first["request"] + 1)
        same(second["request"], first["request"] + 1, "the next request")
        refused("request_number", lambda: client.submit("peer.upper", number=first["request"]))


def refused_requests_use_up_their_number(pilot):
    with pilot.client() as client:
        client.hello()
        refused("invalid_value", lambda: client.submit(""))
        refused("invalid_value", lambda: client.submit("peer.upper", count=0))
        refused("invalid_value", lambda: client.submit("peer.upper", step=0, count=2))
        refused("invalid_value", lambda: client.submit("peer.upper", first=(1 << 32) - 2, count=2))
        refused("malformed", lambda: client.submit("peer.upper", b"abc", count=2, ends=[2, 2]))
        refused("unknown_field", lambda: client.submit("peer.upper", needs={"cores": 1}))
        refused("malformed", lambda: client.submit("peer.upper", needs=7))
        again = refused("malformed", lambda: client.submit("peer.upper", number=client.next_request - 1))
        same(again.message["request"], client.next_request - 1, "the kept refusal")
        client.submit("peer.upper", b"still in step")


def uids_are_unique(pilot):
    with pilot.client() as client:
        client.hello()
        first = client.submit("peer.upper", uid="mine")["submission"]
        refused("duplicate_uid", lambda: client.submit("peer.upper", uid="mine"))
        client.wait(first)
        client.request("forget", "forget_done", select=picked(first))
        client.submit("peer.upper", uid="mine")


def exclusive_sessions_have_one_holder(pilot):
    name = session_name("exclusive")
    with pilot.client() as one, pilot.client() as two:
        one.hello(name)
        refused("session_in_use", lambda: two.hello(name))
        refused("session_kind", lambda: two.hello(name, kind="shared"))
        first = one.submit("peer.upper", b"mine")
        welcome = two.hello(name, takeover=True)
        detached = one.message("detached", lambda m: m["type"] == "detached")
        same(detached["refusal"]["code"], "taken_over", "code")
        same(welcome["request_high"], first["request"], "numbers go on")
        same(welcome["session"], one.welcome["session"], "first half of origins")
        refused("taken_over", lambda: one.hello(name, resume=one.resume))
        forged = {**two.resume, "token": bytes(32)}
        refused("wrong_token", lambda: one.hello(name, resume=forged))
        same(two.submit("peer.upper", b"mine", number=1), first, "the answer kept for the new holder")


def unacknowledged_results_come_again(pilot):
    name = session_name("resume")
    with pilot.client() as client:
        client.hello(name)
        request = client.next_request
        client.batch("peer.upper", [b"a", b"b"], streaming=True)
        client.until(lambda: len(client.pushed(request)) == 2, "results")
        seen = client.deliveries
        client.deliveries = []
        client.connect()
        welcome = client.hello(name, resume=client.resume)
        same(welcome["delivery_next"], seen[0]["delivery"], "next delivery")
        client.until(lambda: len(client.deliveries) == len(seen), "deliveries again")
        same(client.deliveries, seen, "deliveries")
        client.connect()
        client.deliveries = []
        welcome = client.hello(name, resume=client.resume, incarnation=client.welcome["incarnation"], deliveries=seen[-1]["delivery"])
        same(welcome["delivery_next"], seen[-1]["delivery"] + 1, "next delivery when all were taken in")
        client.ask("status")
        same(client.deliveries, [], "deliveries that were taken in")
        client.say("goodbye")
    with pilot.client() as client:
        client.hello(name)
        same(client.welcome["request_high"], request, "the name is enough once nobody is attached")


def shared_sessions_have_many(pilot):
    name = session_name("shared")
    with pilot.client() as one, pilot.client() as two:
        one.hello(name, kind="shared")
        two.hello(name, kind="shared")
        expect(one.welcome["session"] != two.welcome["session"], "each has its own half of origins")
        same(one.submit("peer.upper", b"1")["request"], two.submit("peer.upper", b"2")["request"], "own numbers")
        rows = next(one.pages("submissions", {"last": True}))["rows"]
        same(rows[0]["session"], name, "the session of the last submission")


def unnamed_sessions_end(pilot):
    with pilot.client() as one, pilot.client() as two:
        one.hello()
        two.hello()
        number = one.submit("peer.sleep", msgpack.packb(600))["submission"]
        one.reaches(number, "running")
        one.say("goodbye", reason="the check wants it")
        same(two.wait(number), {"canceled": 1}, "what runs for a session that ended")


def extremes_do_no_harm(pilot):
    most = (1 << 64) - 1
    with pilot.client() as client:
        client.hello(session_name("extremes"), kind="shared", cancel_after_ms=most, incarnation=most, deliveries=most)
        client.say("ack", delivery=most)
        number = client.submit("peer.upper", b"x")["submission"]
        client.ask({"wait": {"select": picked(number), "timeout_ms": most}})
        refused("request_number", lambda: client.submit("peer.upper", number=most, low_water=most))
        endless = {"picks": [{"first": 0, "last": most, "step": 0, "indices": [0, (1 << 32) - 1, 0]}]}
        try:
            client.ask({"tasks": {"select": endless}})
        except Refused:
            pass
    with pilot.client() as client:
        expect(client.hello(), "the agent lives")


def observers_only_read(pilot):
    name = session_name("observed")
    with pilot.client() as client, pilot.client(role="observer") as observer:
        client.hello(name)
        observer.hello()
        expect(observer.ask("status")["pilot_name"], "an observer may ask")
        refused("not_allowed", lambda: observer.submit("peer.upper"))
        refused("not_allowed", lambda: observer.cancel({"all": True}, "kill"))
        observer.send(msgpack.packb({"mode": "peer.upper"}))
        same(observer.refusal()["refusal"]["code"], "not_allowed", "code for an envelope")
        observer.say("stop", id=9)
        same(observer.refusal()["refusal"]["code"], "not_allowed", "code for stop")
        refused("not_allowed", lambda: observer.hello(name, takeover=True))
        client.submit("peer.upper", b"still mine")


def strangers_are_not_let_in(pilot):
    with pilot.client(keys=zmq.curve_keypair()) as stranger:
        stranger.socket.immediate = 0
        expect(not stranger.socket.poll(1_000, zmq.POLLOUT), "a stranger's key was let in")


def chosen_routing_ids_are_dropped(pilot):
    with pilot.client() as client:
        client.connect(routing_id=b"somebody")
        client.say("version", id=1)
        expect(not client.socket.poll(500), "a peer that chose its routing id was answered")


ALL = [
    version_comes_before_hello,
    nothing_else_comes_before_hello,
    welcome_is_whole,
    malformed_headers_are_answered,
    too_many_and_too_large_frames_are_answered,
    repeated_requests_do_nothing_more,
    refused_requests_use_up_their_number,
    uids_are_unique,
    exclusive_sessions_have_one_holder,
    unacknowledged_results_come_again,
    shared_sessions_have_many,
    unnamed_sessions_end,
    extremes_do_no_harm,
    observers_only_read,
    chosen_routing_ids_are_dropped,
]

# Over ipc the directory's mode keeps strangers out.
TCP = [strangers_are_not_let_in]
