"""Reads the test vectors without any code of the project, and says what is wrong with them.

Run alone it prints one line a file and ends with `N passed, N failed, N skipped`.
"""

import json
import pathlib
import sys

import msgpack

import wire

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "vectors"
DIRECTIONS = [
    "client_to_agent",
    "agent_to_client",
    "worker_to_agent",
    "agent_to_worker",
    "agent_to_subscriber",
]


def read(name):
    content = json.loads((FOLDER / f"{name}.json").read_text())
    wire.same(content["protocol"], wire.VERSION, "the vectors' version")
    wire.expect(content["vectors"], "a file without vectors")
    return content["vectors"]


def plain(value):
    """A msgpack value as the vectors write it."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def bare(value):
    """The msgpack value that the vectors write so."""
    if isinstance(value, dict):
        if list(value) == ["hex"]:
            return bytes.fromhex(value["hex"])
        return {key: bare(item) for key, item in value.items()}
    if isinstance(value, list):
        return [bare(item) for item in value]
    return value


def places_in(value):
    """Every group of a message that has a run and a place."""
    if isinstance(value, dict):
        if "run" in value and "place" in value:
            yield value
        for item in value.values():
            yield from places_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from places_in(item)


def check_messages(name):
    for vector in read(name):
        header = bytes.fromhex(vector["header"])
        content = msgpack.unpackb(header, strict_map_key=True)
        wire.same(plain(content), vector["json"], vector["name"])
        wire.same(vector["direction"], name, f"direction of {vector['name']}")
        wire.same(list(content)[:2], ["v", "type"], f"the first keys of {vector['name']}")
        # Integers and lengths have their shortest form, so writing it again gives the same bytes.
        wire.same(msgpack.packb(content), header, f"bytes of {vector['name']}")
        blobs = [bytes.fromhex(blob) for blob in vector["blobs"]]
        for group in places_in(content):
            run = group["run"]
            wire.take(group["place"], run["hi"] - run["lo"], blobs)


def check_envelopes():
    for vector in read("envelopes"):
        header = bytes.fromhex(vector["header"])
        content = msgpack.unpackb(header)
        wire.same(plain(content), vector["json"], vector["name"])
        data = content.get("data", None) if "data" in content else ...
        kept = None if data is ... else (data if isinstance(data, bytes) else msgpack.packb(data)).hex()
        wire.same(kept, vector["data"], f"data of {vector['name']}")
        meta = msgpack.packb(content["meta"]).hex() if "meta" in content else None
        wire.same(meta, vector["meta"], f"meta of {vector['name']}")
        body = content["body"].hex() if "body" in content else None
        wire.same(body, vector["body"], f"body of {vector['name']}")


def check_lenient():
    vectors = read("lenient")
    names = {vector["name"] for vector in vectors}
    for vector in vectors:
        wire.expect(vector["same_as"] in names, f"{vector['name']} is the same as nothing")
        wire.same(plain(msgpack.unpackb(bytes.fromhex(vector["header"]))), vector["json"], vector["name"])


def check_refusals():
    """That they are what they are called cannot be seen here; that they are refused, a live agent shows."""
    for vector in read("refusals"):
        header = refused_header(vector)
        readable = True
        try:
            content = msgpack.unpackb(header, strict_map_key=True, max_ext_len=0)
        except (ValueError, msgpack.UnpackException):
            readable = False
        if readable and isinstance(content, dict):
            # A plain map: then it is refused for what it says, not for how it is written.
            fine = vector["code"] in ("malformed", "too_large") or header[0] in (*range(0x80, 0x90), 0xDE)
            wire.expect(fine, f"{vector['name']} is refused for what?")


def refused_header(vector):
    return bytes.fromhex(vector["header"]) + bytes.fromhex(vector["then"]) * vector["times"]


def check_hashes():
    states = {"leased": wire.LEASED, "running": wire.RUNNING}
    for vector in read("hashes"):
        leases = (vector["incarnation"], vector["submission"], vector["attempt"], states[vector["state"]])
        terms = (wire.lease_term(*leases, offset) for offset in range(vector["lo"], vector["hi"]))
        wire.same(f"{sum(terms) & wire.MASK:016x}", vector["sum"], f"sum of {vector}")


def check_tokens():
    try:
        import blake3
    except ImportError:
        return "there is no Python package blake3 here"
    for vector in read("tokens"):
        content = vector["role"].encode() + b"\0" + vector["peer"].to_bytes(8, "little")
        digest = blake3.blake3(content, key=bytes.fromhex(vector["secret"])).hexdigest()
        wire.same(digest, vector["token"], f"token of {vector['role']} {vector['peer']}")
    return None


def check_places():
    for vector in read("places"):
        blobs = [bytes.fromhex(blob) for blob in vector["blobs"]]
        try:
            data = [item.hex() for item in wire.take(vector["place"], vector["count"], blobs)[:3]]
        except wire.Trouble:
            wire.same("malformed", vector.get("error"), vector["name"])
        else:
            wire.same(data, vector.get("data"), vector["name"])


def check_frames():
    for vector in read("frames"):
        content = msgpack.unpackb(bytes.fromhex(vector["header"]), strict_map_key=True)
        frames = [bytes.fromhex(frame) for frame in vector["frames"]]
        wire.same([blob.hex() for blob in wire.blobs_of(content, frames)], vector["blobs"], vector["name"])


def read_range(text):
    """`A`, `A-B` or `A-B:STEP`, as (first, last, step)."""
    span, colon, step = text.partition(":")
    first, dash, last = span.partition("-")
    numbers = [first, last if dash else first, step if colon else "1"]
    if not all(number.isascii() and number.isdigit() and int(number) <= wire.MASK for number in numbers):
        return None
    first, last, step = map(int, numbers)
    fine = first <= last and step > 0 and (dash or not colon)
    return (first, last, step) if fine else None


STATES = ["waiting", "ready", "leased", "running", "done", "failed", "canceled"]


def read_selector(text):
    """A selector from the text that people write; None if it cannot be read (docs/spec/2-client.md)."""
    select, picks = {}, []
    for word in text.replace(",", " ").split(" "):
        kind, colon, rest = word.partition(":")
        if not word:
            continue
        if word in ("all", "last"):
            select[word] = True
        elif kind == "name" and colon:
            select["name"] = rest
        elif kind == "label" and "=" in rest:
            select["label"] = list(rest.partition("=")[::2])
        elif kind == "state" and rest in STATES:
            select["state"] = rest
        else:
            number, dot, indices = word.partition(".")
            whole = read_range(number if dot else word)
            inner = read_range(indices) if dot else None
            if whole is None or (dot and (inner is None or max(inner) >= 1 << 32 or not number.isdigit())):
                return None
            pick = dict(zip(("first", "last", "step"), whole))
            picks.append({**pick, "indices": list(inner)} if dot else pick)
    if picks:
        select["picks"] = picks
    return select or None


def check_selectors():
    for vector in read("selectors"):
        select = read_selector(vector["text"])
        wire.same(select, vector.get("select"), f"selector {vector['text']!r}")
        wire.same("error" in vector, select is None, f"whether {vector['text']!r} is refused")


def check_topics():
    for vector in read("topics"):
        topic = vector["topic"]
        number = topic.removeprefix("submission/")
        numbered = topic != number and number.isdigit() and str(int(number)) == number and int(number) <= wire.MASK
        wire.same(topic in ("summary", "submissions", "workers", "alarms", "faults", "health") or numbered, vector["exists"], f"topic {topic!r}")


def ordered(value):
    """The same with the keys of all maps in order."""
    if isinstance(value, dict):
        return {key: ordered(value[key]) for key in sorted(value)}
    return [ordered(one) for one in value] if isinstance(value, list) else value


def check_modes():
    for vector in read("modes"):
        content = msgpack.unpackb(bytes.fromhex(vector["bytes"]), strict_map_key=True)
        wire.same(plain(content), vector["json"], vector["name"])
        wire.same(msgpack.packb(bare(vector["json"])), msgpack.packb(ordered(content)), vector["name"])


def check_packed():
    try:
        import blake3
    except ImportError:
        blake3 = None
    for vector in read("packed"):
        content = bytes.fromhex(vector["bytes"])
        place = 0
        for record in vector["records"]:
            wire.same(place, record["position"], "where a record begins")
            wire.same(content[place:place + 4], b"\x93slr", "its mark")
            head_bytes, body_bytes = (int.from_bytes(content[place + at:place + at + 4], "little") for at in (4, 8))
            head_at, body_at = place + 28, place + 28 + head_bytes
            end = body_at + body_bytes
            head = msgpack.unpackb(content[head_at:body_at], strict_map_key=True)
            wire.same(plain(head), record["head"], "its head")
            wire.same(content[body_at:end], bytes.fromhex(record["body"]), "its body")
            if blake3:
                said = place.to_bytes(8, "little") + content[place:place + 12] + content[place + 20:body_at]
                wire.same(content[place + 12:place + 20], blake3.blake3(said).digest()[:8], "the head's sum")
                wire.same(content[place + 20:place + 28], blake3.blake3(content[body_at:end]).digest()[:8], "the body's sum")
            place = end
        wire.same(place, len(content), "all of it is records")
    return None if blake3 else "there is no Python package blake3 here: sums were not checked"


def checks():
    """Pairs of a name and a function that raises, or returns why it was skipped."""
    for name in DIRECTIONS:
        yield f"vectors {name}", lambda name=name: check_messages(name)
    for name in ["envelopes", "lenient", "refusals", "hashes", "tokens", "places", "frames", "selectors", "topics", "modes", "packed"]:
        yield f"vectors {name}", globals()[f"check_{name}"]


if __name__ == "__main__":
    import report

    sys.exit(report.run(checks()))
