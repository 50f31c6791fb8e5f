#!/usr/bin/env python3
"""Stands in for the `flux` command."""

import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import jobs
from jobs import Job, NODES, fail

# Where a command is connected to: nothing is the machine's own instance, else `NUMBER RANK`, a broker of a job's.
URI = os.environ.get("FLUX_URI", "").split()


def name_of(number):
    return f"ƒJob{number}"


def find(name):
    job = Job.known(name.replace("ƒ", "f", 1).removeprefix("fJob"))
    return job or fail(f"flux: ERROR: JobID {name} unknown")


def batch(words):
    *options, path = words
    script = pathlib.Path(path).read_text()
    for line in script.splitlines()[1:]:
        if line.startswith("# flux: "):
            options += shlex.split(line[8:])
        elif line:
            break
    asked = {"name": "batch", "nodes": 1, "seconds": 3600, "out": "flux.out"}
    for option in options:
        option, _, value = option.partition("=")
        if option == "--job-name":
            asked["name"] = value
        elif option == "--nodes":
            asked["nodes"] = int(value)
        elif option == "--time-limit":
            asked["seconds"] = float(value.removesuffix("s"))
        elif option == "--output":
            asked["out"] = value
        elif option == "--queue":
            if value != "pbatch":
                fail(f"flux-batch: ERROR: [Errno 22] queue: Invalid queue '{value}' specified")
        elif option not in ("--exclusive", "--setopt", "--nslots", "--cores-per-slot"):
            fail(f"flux-batch: ERROR: unrecognized arguments: {option}", 2)
    job = jobs.queued(script, asked)
    number = job.asked["number"]
    print(name_of(number), flush=True)
    if asked["nodes"] > len(NODES):
        return
    environment = os.environ | {"FLUX_URI": f"{number} 0", "FLUX_ENCLOSING_ID": name_of(number), "SCALEMS_JOB_NODE": "n1"}
    command = f'exec >>{shlex.quote(asked["out"])} 2>&1; exec /bin/bash {shlex.quote(str(job.directory / "script"))}'
    jobs.began(job, ["/bin/sh", "-c", command], environment, signal.SIGHUP, 5)


def list_jobs(words):
    if words[0] != "--json":
        fail("flux-jobs: ERROR: this one speaks JSON only", 2)
    job = find(words[1])
    asked = job.asked
    said = {"id": asked["number"], "name": asked["name"], "annotations": {}, "exception": {"occurred": False}}
    if job.state == "pending":
        said |= {"state": "SCHED", "annotations": {"sched": {"t_estimate": time.time() + 600}}}
    else:
        began = job.read("began")
        nodes = asked["nodes"]
        said |= {
            "state": "RUN",
            "nodelist": f"n[1-{nodes}]" if nodes > 1 else "n1",
            "t_run": began,
            "expiration": began + asked["seconds"],
        }
    ended = job.read("ended")
    if ended is not None:
        result = {"cancel": "CANCELED", "timeout": "TIMEOUT"}.get(
            ended["how"], "COMPLETED" if ended["status"] == 0 else "FAILED"
        )
        said |= {"state": "INACTIVE", "result": result}
        if ended["how"]:
            said["exception"] = {"occurred": True, "severity": 0, "type": ended["how"], "note": ""}
    print(json.dumps(said))


def cancel(words):
    job = find(words[0])
    if job.state == "pending":
        job.write("ended", {"status": 0, "how": "cancel"})
    (job.directory / "cancel").touch()


def getattr_(words):
    if not URI:
        print({"hostlist": "login,n[1-2]"}.get(words[0]) or fail(f"flux-getattr: {words[0]}: No such file or directory"))
        return
    number, rank = URI
    nodes = Job.known(number).asked["nodes"]
    known = {"hostlist": ",".join(NODES[:nodes]), "hostname": NODES[int(rank)], "jobid": name_of(number)}
    print(known[words[0]])


def exec_(words):
    if not URI:
        fail("flux-exec: Error: Operation not permitted")
    number = URI[0]
    ranks = None
    while words[0].startswith("--"):
        option, _, value = words.pop(0).partition("=")
        if option == "--rank":
            ranks = [int(rank) for rank in value.split(",")]
        elif option not in ("--noinput", "--dir"):
            fail(f"flux-exec: unrecognized option '{option}'", 2)
    job = Job.known(number)
    if any(rank >= job.asked["nodes"] for rank in ranks):
        fail("flux-exec: Error: rank: No route to host", 68)
    running = []
    for rank in ranks:
        environment = os.environ | {"FLUX_URI": f"{number} {rank}"}
        environment.pop("SCALEMS_JOB_NODE", None)
        process = subprocess.Popen(
            words, env=environment, stdin=subprocess.DEVNULL, start_new_session=True, cwd="/"
        )
        job.note(process.pid)
        running.append(process)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda came, _: [process.send_signal(came) for process in running])
    sys.exit(max(process.wait() for process in running))


def uptime(_words):
    print(" 07:48:42 run 2.1d,  owner flux,  depth 0,  size 3")


def resource(words):
    if words != ["list", "--no-header", "--states=up", "--format={nodelist}"]:
        fail(f"flux-resource: ERROR: {words}", 2)
    print("n[1-2]")


COMMANDS = {
    "batch": batch,
    "jobs": list_jobs,
    "cancel": cancel,
    "getattr": getattr_,
    "exec": exec_,
    "uptime": uptime,
    "resource": resource,
}

if sys.argv[1] == "--parent":
    if not URI:
        fail("flux: no parent")
    del sys.argv[1]
    URI = []
COMMANDS[sys.argv[1]](sys.argv[2:])
