"""A client written from docs/spec/1-bus.md, 2-client.md and 4-events.md alone.

with Client(directory) as client:
    client.hello()
    accepted = client.envelope("scalems.echo", b"hello")
    print(client.values(accepted["submission"]))
"""

import secrets

import msgpack
import zmq

import wire
from wire import Deadline, Trouble


class Refused(Trouble):
    """The agent refused something; `code` says why."""

    def __init__(self, message):
        self.message, self.code = message, message["refusal"]["code"]
        super().__init__(f"refused {self.code}: {message['refusal']['message']}")


class Client:
    """One connection of a client or observer."""

    def __init__(self, directory, transport=None, role="client", keys=None):
        self.file = wire.ConnectionFile(directory, role)
        self.transport = transport or self.file.transports()[0]
        self.context = zmq.Context()
        self.keys = keys
        self.socket = self.events = None
        self.inbox = []
        self.deliveries = []
        self.resume = None
        self.next_request = 1
        self.next_id = 1
        self.connect()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # An unnamed session ends with its client, so nothing of a check is left for the next one.
        if self.resume and self.socket.poll(0, zmq.POLLOUT):
            self.say("goodbye", reason="the check is over")
        self.close()

    def close(self):
        self.context.destroy(linger=1000)

    def connect(self, routing_id=None):
        """Opens the connection, anew if there is one."""
        if self.socket:
            self.socket.close()
        self.inbox.clear()
        self.socket = self.file.open(
            self.context, zmq.DEALER, self.file.requests, self.transport, self.keys, routing_id
        )

    # Sending

    def send(self, header, *blobs):
        if not self.socket.poll(int(wire.PATIENCE * 1000), zmq.POLLOUT):
            raise Trouble("the agent cannot be reached")
        self.socket.send_multipart([header, *blobs], copy=False)

    def say(self, kind, /, *blobs, **fields):
        self.send(wire.pack(kind, **fields), *blobs)

    # Receiving

    def receive(self, deadline):
        """Takes one message in; False when none came in time. Results go to `deliveries`."""
        if not self.socket.poll(deadline.left_ms()):
            return False
        header, *frames = self.socket.recv_multipart()
        message = wire.unpack(header)
        message["blobs"] = wire.blobs_of(message, frames)
        if message["type"] == "results":
            self.inbox += [{**accepted, "type": "accepted"} for accepted in message.pop("accepted", [])]
            self.deliveries.append(message)
        elif message["type"] != "ping":
            self.inbox.append(message)
        return True

    def until(self, condition, what, seconds=wire.PATIENCE):
        """Receives until `condition()` gives something true, and gives that."""
        deadline = Deadline(seconds)
        while not (found := condition()):
            if not self.receive(deadline) and deadline.over():
                raise Trouble(f"no {what} within {seconds} s; there is {[m['type'] for m in self.inbox]}")
        return found

    def message(self, what, fits, seconds=wire.PATIENCE):
        """The first message that fits."""

        def take():
            for at, message in enumerate(self.inbox):
                if fits(message):
                    return self.inbox.pop(at)
            return None

        return self.until(take, what, seconds)

    def answered(self, kind, fits, seconds=wire.PATIENCE):
        """The answer of this type, or the refusal instead of it as an error."""
        message = self.message(kind, lambda m: m["type"] in (kind, "refused") and fits(m), seconds)
        if message["type"] == "refused":
            raise Refused(message)
        return message

    def refusal(self, seconds=wire.PATIENCE):
        """The next refusal."""
        return self.message("refusal", lambda m: m["type"] == "refused", seconds)

    # Sessions

    def hello(self, session="", **fields):
        self.say("hello", session=session, software="tests/peer", **fields)
        welcome = self.answered("welcome", lambda m: "request" not in m and "id" not in m)
        self.welcome, self.resume = welcome, welcome["resume"]
        self.next_request = welcome["request_high"] + 1
        return welcome

    # Requests

    def request(self, kind, answer, *blobs, number=None, **fields):
        if number is None:
            number, self.next_request = self.next_request, self.next_request + 1
        self.say(kind, *blobs, request=number, **fields)
        return self.answered(answer, lambda m: m.get("request") == number)

    def submit(self, mode, data=None, **fields):
        """Submits one task or an array; what is no field of `submit` goes into the template."""
        own = {
            key: fields.pop(key)
            for key in ("count", "first", "step", "ends", "streaming", "number", "low_water")
            if key in fields
        }
        blobs = [] if data is None else [data]
        return self.request("submit", "accepted", *blobs, task={"mode": mode, **fields}, **own)

    def batch(self, mode, items, **fields):
        data, ends = wire.column(items)
        return self.submit(mode, data, count=len(items), ends=ends, **fields)

    def envelope(self, mode, *data, **fields):
        """A map with a mode and data, and nothing that only we would write."""
        self.send(msgpack.packb({"mode": mode, **({"data": data[0]} if data else {}), **fields}))
        accepted = self.answered("accepted", lambda m: "id" not in m)
        self.next_request = accepted["request"] + 1
        return accepted

    def cancel(self, select, strength, **fields):
        return self.request("cancel", "cancel_done", select=select, strength=strength, **fields)

    # Reads

    def ask(self, question, seconds=wire.PATIENCE):
        """The value of the reply; questions without a value are strings."""
        number, self.next_id = self.next_id, self.next_id + 1
        self.say("ask", id=number, question=question)
        answer = self.answered("answer", lambda m: m.get("id") == number, seconds)
        (reply,) = answer["reply"].values()
        return {**reply, "blobs": answer["blobs"]} if isinstance(reply, dict) else reply

    def wait(self, submission, seconds=wire.PATIENCE):
        """Waits until a submission has ended, and gives the counts."""
        question = {"wait": {"select": picked(submission), "timeout_ms": int(seconds * 1000)}}
        return counts(self.ask(question, seconds + wire.PATIENCE))

    def pages(self, question, select, rows=0):
        """All pages of a listing."""
        after = {}
        while True:
            page = self.ask({question: {"select": select, "rows": rows, **after}})
            yield page
            if page.get("next") is None:
                return
            after = {"after": page["next"]}

    def workers(self, rows=0):
        """The rows of all workers that live."""
        found, after = [], {}
        while True:
            page = self.ask({"workers": {"rows": rows, **after}})
            found += page["rows"]
            if page.get("next") is None:
                return found
            after = {"after": page["next"]}

    def results(self, submission, rows=0):
        """The results that the agent holds: for each offset its group and value."""
        found = {}
        for page in self.pages("results", picked(submission), rows):
            found.update(by_offset(page["rows"], page["blobs"]))
        return found

    def values(self, submission):
        """The values of a submission that ended well, by offset."""
        results = self.results(submission)
        return [value for _, (_, value) in sorted(results.items())]

    def pushed(self, request):
        """What was pushed for a request so far, by offset."""
        found = {}
        for delivery in self.deliveries:
            mine = {"session": self.welcome["session"], "request": request}
            groups = [group for group in delivery["groups"] if group["origin"] == mine]
            for offset, result in by_offset(groups, delivery["blobs"]).items():
                if offset in found and found[offset] != result:
                    raise Trouble(f"two results for offset {offset} of request {request}")
                found[offset] = result
        return found

    # Events

    def subscribe(self, topic):
        if not self.events:
            self.events = self.file.open(self.context, zmq.SUB, self.file.stream, self.transport, self.keys)
        self.events.subscribe(topic)

    def event(self, topic, fits, seconds=wire.PATIENCE):
        """The next event of a topic that fits."""
        deadline = Deadline(seconds)
        while not deadline.over():
            if not self.events.poll(deadline.left_ms()):
                break
            name, header = self.events.recv_multipart()
            event = wire.unpack(header)
            wire.same(event["type"], "event", "type of an event")
            wire.same(event["topic"], name.decode(), "topic of an event")
            if event["topic"] == topic and fits(event):
                return event
        raise Trouble(f"no such event of {topic} within {seconds} s")

    def reaches(self, submission, state, seconds=wire.PATIENCE):
        """Follows a submission until all of its tasks are in a state."""
        topic = f"submission/{submission}"
        self.subscribe(topic)
        self.event(topic, lambda event: event["body"] == "open")
        snapshot = self.ask({"snapshot": topic})
        seq, tasks = snapshot["seq"], snapshot["state"]["tasks"]
        while set(counts(tasks["counts"])) != {state}:
            event = self.event(topic, lambda event: event["seq"] > seq, seconds)
            seq, tasks = event["seq"], event["body"]["tasks"]
        self.events.unsubscribe(topic)


def refused(code, act):
    """`act` has to be refused with this code."""
    try:
        found = act()
    except Refused as refusal:
        wire.same(refusal.code, code, "code of the refusal")
        wire.expect(refusal.message["refusal"]["message"], "a refusal without a message")
        return refusal
    raise Trouble(f"not refused {code}: {found!r}")


def picked(submission, index=None):
    """A selector for one submission, or one task."""
    pick = {"first": submission, "last": submission, "step": 1}
    return {"picks": [pick if index is None else {**pick, "indices": [index, index, 1]}]}


def by_offset(groups, blobs):
    found = {}
    for group in groups:
        run = group["run"]
        values = wire.take(group.get("place", {}), run["hi"] - run["lo"], blobs)
        found.update({offset: (group, value) for offset, value in zip(wire.offsets(run), values)})
    return found


def counts(found):
    """Counts without those that are 0."""
    return {state: count for state, count in found.items() if state != "blobs" and count}


def session_name(what):
    """A name that no other run has."""
    return f"peer-{what}-{secrets.token_hex(4)}"
