"""A worker written from docs/spec/1-bus.md and 3-worker.md alone: `worker.py CONNECTION_DIR` serves until stopped.

It serves `peer.upper` (its data in capitals), `peer.sleep` (a msgpack number of seconds), `peer.hold` (never starts),
`peer.fail` (fails for good with its data as message) and `peer.flaky` (fails until its third attempt).
"""

import collections
import os
import secrets
import sys
import threading
import time

import msgpack
import zmq

import wire
from wire import LEASED, RUNNING

MODES = {"peer.upper": True, "peer.fail": True, "peer.flaky": True, "peer.hold": True, "peer.sleep": False}
HELLO_AGAIN = 5.0

# A lease is named by (incarnation, submission, attempt, offset): what its term in the state hash is made of.
Lease = collections.namedtuple("Lease", "origin mode data")
Result = collections.namedtuple("Result", "ending value error")


class Worker:
    """One worker; `step` does what is due and takes in what has come."""

    def __init__(self, directory, transport=None, cores=2):
        self.file = wire.ConnectionFile(directory, "worker")
        self.transport = transport or self.file.transports()[0]
        self.context = zmq.Context()
        self.name = f"peer-{secrets.token_hex(4)}"
        self.cores = cores
        self.socket = self.beats = None
        self.resume = self.welcome = None
        self.welcomed = self.ended = False
        self.incarnation = 0
        self.leases = {}  # everything held, until its result or return is numbered
        self.counted = {}  # the same with the state that the hash has it in
        self.running = {}  # when each sleep is over
        self.queue = collections.deque()
        self.finished = {}  # results that are not in a report yet
        self.kept = {}  # by report: results until they are recorded
        self.started, self.returned = [], []
        self.applied = self.sent = self.recorded = self.beat = 0
        self.seen = collections.Counter()  # types of messages, for the checks
        self.drain_until = None
        self.wrong_hash = False
        self.beat_at = self.hello_at = float("inf")
        self.connect()

    def connect(self):
        """Opens both connections and says hello."""
        self.disconnect()
        self.socket = self.file.open(self.context, zmq.DEALER, self.file.requests, self.transport)
        self.beats = self.file.open(self.context, zmq.PUB, self.file.stream, self.transport)
        self.hello()

    def disconnect(self):
        for old in (self.socket, self.beats):
            if old:
                old.close()
        self.socket = None
        self.welcomed = False

    def close(self):
        self.context.destroy(linger=1000)

    # Joining

    def held(self, with_ended):
        """All leases as runs: neighbours in one state become one."""
        states = {key: "running" if key in self.running else "leased" for key in self.leases}
        if with_ended:
            ended = [result for report in self.kept.values() for result in report.items()]
            states.update({key: "done" for key, _ in [*ended, *self.finished.items()]})
            self.leases.update({key: lease for key, (lease, _) in ended})
        runs = []
        for key in sorted(states, key=lambda key: (key[:3], states[key], key[3])):
            incarnation, submission, attempt, offset = key
            last = runs[-1] if runs else None
            alike = {"origin": self.leases[key].origin, "incarnation": incarnation, "state": states[key]}
            if last and last["run"]["hi"] == offset and all(last[k] == alike[k] for k in alike):
                if (last["run"]["submission"], last["run"]["attempt"]) == (submission, attempt):
                    last["run"]["hi"] += 1
                    continue
            run = {"submission": submission, "lo": offset, "hi": offset + 1, "attempt": attempt}
            runs.append({"run": run, **alike})
        self.listed = states
        return runs

    def hello(self):
        # What is kept for a report that was not recorded is news again; its lease is held until then.
        held = self.held(True)
        for report in self.kept.values():
            self.finished.update({key: result for key, (_, result) in report.items()})
        self.kept.clear()
        self.started, self.returned = [], []
        self.welcomed = False
        self.hello_at = time.monotonic() + HELLO_AGAIN
        resume = {"resume": self.resume} if self.resume else {}
        offer = [] if self.drain_until else [["cores", self.cores], ["memory", 1024]]
        modes = [] if self.drain_until else [{"name": name, "instant": instant} for name, instant in MODES.items()]
        self.send(
            "hello", name=self.name, host="peer", pid=os.getpid(), software="tests/peer", offer=offer, modes=modes,
            held=held, **resume,
        )  # fmt: skip

    def take_welcome(self, welcome):
        self.welcome, self.welcomed = welcome, True
        self.resume = {key: welcome[key] for key in ("pilot", "worker", "token")}
        self.incarnation = welcome["incarnation"]
        self.applied = self.sent = self.recorded = 0
        self.hello_at, self.beat_at = float("inf"), time.monotonic()
        for run in welcome.get("drop", []):
            for key in self.keys(run):
                self.forget(key)
        # The agent counts what was listed as running or done as running.
        self.counted = {key: LEASED if self.listed[key] == "leased" else RUNNING for key in self.leases}
        self.started = [key for key in self.running if self.counted.get(key) == LEASED]
        self.queue = collections.deque(key for key in self.unstarted() if self.leases[key].mode != "peer.hold")

    def keys(self, run):
        """The leases held of a run, of whichever life granted them."""
        wanted = (run["submission"], run["attempt"])
        return [key for key in self.leases if key[1:3] == wanted and run["lo"] <= key[3] < run["hi"]]

    def unstarted(self):
        gone = {*self.running, *self.finished, *self.returned}
        return [key for key in self.leases if key not in gone]

    def forget(self, key):
        self.leases.pop(key, None)
        self.counted.pop(key, None)
        self.running.pop(key, None)
        self.finished.pop(key, None)
        if key in self.queue:
            self.queue.remove(key)

    # Messages

    def send(self, kind, /, *blobs, **fields):
        # Every second message with a lone small blob has it inside; its receiver may not care.
        if len(blobs) == 1 and len(blobs[0]) <= wire.EMBEDDED_BYTES and self.sent % 2:
            fields, blobs = {**fields, "blob": blobs[0]}, ()
        self.socket.send_multipart([wire.pack(kind, **fields), *blobs])

    def take(self, message, blobs):
        kind = message["type"]
        self.seen[kind] += 1
        if kind == "welcome":
            return self.take_welcome(message)
        if kind == "refused":
            code = message["refusal"]["code"]
            if code != "hello_first":
                raise wire.Trouble(f"the agent refused the worker: {message['refusal']}")
            return self.hello() if self.welcomed else None
        if kind == "stop":
            self.drain_until = time.monotonic() + message.get("drain_ms", 0) / 1000
            self.returned += self.unstarted()
            return self.queue.clear()
        if not self.welcomed:
            return None  # it belongs to the numbering before
        if kind in ("lease", "revoke"):
            if message["number"] != self.applied + 1:
                return self.hello()
            self.applied += 1
        if kind in ("lease", "recorded"):
            self.recorded = max(self.recorded, message.get("recorded", 0))
            for report in [number for number in self.kept if number <= self.recorded]:
                del self.kept[report]
        if kind == "lease":
            return [self.take_group(group, message["templates"], blobs) for group in message["groups"]]
        if kind == "revoke":
            return [self.revoke(key, message) for run in message["runs"] for key in self.keys(run)]
        if kind == "ping":
            return self.send("pong")
        if kind == "list":
            # What is asked for speaks of the last report, so what is due goes out first.
            self.report()
            if message.get("beat_only"):
                return self.send("beat", **self.next_beat())
            return self.send("holdings", applied=self.applied, sent=self.sent, held=self.held(False))
        wire.expect(kind == "recorded", f"the agent sent {kind}, which is no message to a worker")
        return None

    def take_group(self, group, templates, blobs):
        run, template = group["run"], templates[group["template"]]
        data = wire.take(group.get("place", {}), run["hi"] - run["lo"], blobs)
        for offset, item in zip(wire.offsets(run), data):
            key = (self.incarnation, run["submission"], run["attempt"], offset)
            self.leases[key] = Lease(group["origin"], template["mode"], item)
            self.counted[key] = LEASED
            if self.drain_until:
                self.returned.append(key)
            elif template["mode"] == "peer.sleep" or not MODES.get(template["mode"]):
                self.queue.append(key)
            else:
                self.do_instant(key)

    def do_instant(self, key):
        lease = self.leases[key]
        error = {"code": "task_failed", "message": lease.data.decode(errors="replace")}
        if lease.mode == "peer.upper":
            self.finished[key] = Result("done", lease.data.upper(), None)
        elif lease.mode == "peer.fail":
            self.finished[key] = Result("failed", b"", error)
        elif lease.mode == "peer.flaky" and key[2] < 3:
            self.finished[key] = Result("failed", b"", {**error, "retryable": True})
        elif lease.mode == "peer.flaky":
            self.finished[key] = Result("done", str(key[2]).encode(), None)

    def revoke(self, key, message):
        if key in self.finished or key in self.returned:
            return
        runs = key in self.running
        if message.get("silent"):
            self.running.pop(key, None)
            self.returned.append(key)
        elif message["strength"] == "withdraw":
            if not runs:
                self.returned.append(key)
        else:
            error = {"code": "canceled", "message": f"canceled: {message.get('reason', '')}"}
            self.finished[key] = Result("canceled", b"", error)
        if key in self.queue:
            self.queue.remove(key)

    # Work

    def work(self):
        now = time.monotonic()
        for key in [key for key, until in self.running.items() if until <= now]:
            self.finished.setdefault(key, Result("done", b"", None))
        for key in [key for key in self.running if key in self.finished]:
            del self.running[key]
        while self.queue and len(self.running) < self.cores:
            key = self.queue.popleft()
            lease = self.leases[key]
            if lease.mode != "peer.sleep":
                error = {"code": "unknown_mode", "message": f"this worker does not serve {lease.mode}"}
                self.finished[key] = Result("failed", b"", error)
                continue
            self.running[key] = now + float(msgpack.unpackb(lease.data))
            self.started.append(key)
        if self.drain_until and now >= self.drain_until:
            for key in self.running:
                error = {"code": "canceled", "message": "the worker ends"}
                self.finished[key] = Result("canceled", b"", error)
            self.running.clear()

    def report(self):
        """Numbers all news, and takes it over into the hash."""
        while self.started or self.returned or self.finished:
            keys = self.next_results()
            blobs, groups = self.groups(keys)
            runs = [[run_of(key) for key in some[:1024]] for some in (self.started, self.returned)]
            self.sent += 1
            self.send("report", *blobs, number=self.sent, started=runs[0], results=groups, returned=runs[1])
            self.counted.update({key: RUNNING for key in self.started[:1024] if key in self.counted})
            self.kept[self.sent] = {key: (self.leases[key], self.finished.pop(key)) for key in keys}
            for key in [*keys, *self.returned[:1024]]:
                self.leases.pop(key, None)
                self.counted.pop(key, None)
            del self.started[:1024], self.returned[:1024]

    def next_results(self):
        """As many results as a report has room for: their errors lie in the header, which has its limits."""
        keys, room = [], wire.HEADER_BYTES // 2
        for key in sorted(self.finished)[:512]:
            error = self.finished[key].error or {"message": ""}
            room -= 512 + len(error["message"].encode())
            if room < 0:
                break
            keys.append(key)
        return keys

    def groups(self, keys):
        """Results as groups: neighbours that ended well become one with a column."""
        together = []
        for key in keys:
            last = together[-1] if together else None
            alike = last and (*last[-1][:3], last[-1][3] + 1) == key
            if alike and self.finished[key].ending == self.finished[last[-1]].ending == "done":
                last.append(key)
            else:
                together.append([key])
        blob, groups = b"", []
        for some in together:
            data, ends = wire.column([self.finished[key].value for key in some])
            first, result = some[0], self.finished[some[0]]
            group = {
                "run": {**run_of(first), "hi": some[-1][3] + 1},
                "origin": self.leases[first].origin,
                "incarnation": first[0],
                "ending": result.ending,
            }
            if data:
                group["place"] = {"blob": 0, "at": len(blob), "length": len(data), "ends": ends}
            if result.error:
                group["error"] = result.error
            blob += data
            groups.append(group)
        return ([blob] if blob else []), groups

    def hash(self):
        terms = (wire.lease_term(i, s, a, state, o) for (i, s, a, o), state in self.counted.items())
        return (sum(terms) + self.wrong_hash) & wire.MASK

    def next_beat(self):
        self.beat += 1
        worker, link = self.welcome["worker"], self.welcome["link"]
        return {
            "worker": worker, "link": link, "beat": self.beat, "applied": self.applied, "sent": self.sent,
            "hash": self.hash(),
        }  # fmt: skip

    def publish_beat(self):
        self.beats.send(wire.pack("beat", **self.next_beat()))
        self.beat_at = time.monotonic() + self.welcome["beat_ms"] / 1000

    # The loop

    def step(self, deadline, *others):
        """Waits for what comes or is due, and does it. Ends early when one of `others` can be read."""
        if self.welcomed:
            self.work()
            self.report()
            if time.monotonic() >= self.beat_at:
                self.publish_beat()
            if self.drain_until and not self.leases and not self.kept:
                self.send("goodbye", reason="drained")
                self.ended = True
                return
        elif time.monotonic() >= self.hello_at and self.socket:
            self.hello()
        due = min([self.beat_at, self.hello_at, *self.running.values(), deadline.at])
        if self.drain_until:
            due = min(due, max(self.drain_until, time.monotonic() + 0.05))
        poller = zmq.Poller()
        for readable in [self.socket, *others]:
            if readable:
                poller.register(readable, zmq.POLLIN)
        poller.poll(max(0, int((due - time.monotonic()) * 1000) + 1))
        while self.socket and self.socket.poll(0):
            header, *frames = self.socket.recv_multipart()
            message = wire.unpack(header)
            self.take(message, wire.blobs_of(message, frames))

    def until(self, condition, what, seconds=wire.PATIENCE):
        deadline = wire.Deadline(seconds)
        while not (found := condition()):
            wire.expect(not deadline.over(), f"no {what} within {seconds} s")
            self.step(deadline)
        return found


def run_of(key):
    _, submission, attempt, offset = key
    return {"submission": submission, "lo": offset, "hi": offset + 1, "attempt": attempt}


class Served:
    """A worker that serves in a thread of its own, until the block ends."""

    def __init__(self, directory, transport=None):
        self.worker = Worker(directory, transport)
        self.error = None
        self.there = threading.Event()
        self.stop, self.stopped = (zmq.Context.instance().socket(zmq.PAIR) for _ in range(2))
        address = f"inproc://stop-{self.worker.name}"
        self.stopped.bind(address)
        self.stop.connect(address)
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def serve(self):
        try:
            while not self.worker.ended and not self.stopped.poll(0):
                self.worker.step(wire.Deadline(60), self.stopped)
                if self.worker.welcomed:
                    self.there.set()
            if self.worker.welcomed and not self.worker.ended:
                # What it may still hold goes to others.
                self.worker.send("goodbye", reason="the checks are over")
                self.worker.context.destroy(linger=2000)
        except Exception as error:  # handed to the checks
            self.error = error

    def __enter__(self):
        self.thread.start()
        wire.expect(self.there.wait(wire.PATIENCE), f"the worker was not welcomed: {self.error}")
        return self.worker

    def __exit__(self, kind, *_):
        self.stop.send(b"")
        self.thread.join(wire.PATIENCE)
        self.stop.close(0)
        self.stopped.close(0)
        if self.error and not kind:
            raise self.error


def main():
    worker = Worker(sys.argv[1])
    while not worker.ended:
        worker.step(wire.Deadline(60))


if __name__ == "__main__":
    main()
