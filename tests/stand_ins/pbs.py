#!/usr/bin/env python3
"""Stands in for commands of PBS Pro; which one, its own name says."""

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

SERVER = "head"
CORES = 4


def qsub(words):
    *options, path = words
    script = pathlib.Path(path).read_text()
    for line in script.splitlines()[1:]:
        if line.startswith("#PBS "):
            options += shlex.split(line[5:])
        elif line and not line.startswith("#"):
            break
    asked = {"name": "STDIN", "nodes": 1, "cores": 1, "place": "free", "seconds": 3600, "join": False, "out": None}
    while options:
        option, value = options.pop(0), options.pop(0)
        if option == "-N":
            asked["name"] = value
        elif option == "-q":
            if value != "work":
                fail(f"qsub: Unknown queue MSG={value}", 170)
        elif option == "-l":
            name, _, value = value.partition("=")
            if name == "select":
                count, *resources = value.split(":")
                asked["nodes"] = int(count)
                for resource in resources:
                    kind, _, amount = resource.partition("=")
                    if kind == "ncpus":
                        asked["cores"] = int(amount)
                    elif kind not in ("mem", "ngpus"):
                        fail(f"qsub: Unknown resource: {kind}", 170)
            elif name == "place":
                asked["place"] = value
            elif name == "walltime":
                hours, minutes, seconds = map(int, value.split(":"))
                asked["seconds"] = 3600 * hours + 60 * minutes + seconds
            else:
                fail(f"qsub: Unknown resource: {name}", 170)
        elif option not in ("-S", "-j", "-o", "-r"):
            fail(f"qsub: invalid option {option}", 2)
    job = jobs.queued(script, asked)
    name = f"{job.asked['number']}.{SERVER}"
    print(name, flush=True)
    if asked["nodes"] > len(NODES) or asked["cores"] > CORES:
        return
    file = job.directory / "nodes"
    file.write_text("".join(f"{node}.example\n" for node in NODES[: asked["nodes"]]))
    # The environment is not the submitter's, but for what this machine needs to find and to mark processes.
    kept = ("HOME", "PATH", "STAND_IN", "TMPDIR", "USER")
    environment = {key: os.environ[key] for key in kept if key in os.environ}
    environment |= {
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_JOBID": name,
        "PBS_NODEFILE": str(file),
        "SCALEMS_JOB_NODE": "",
    }
    job.write("environment", environment)
    # What stands for n1: its host name is not this host's.
    environment["SCALEMS_JOB_NODE"] = "n1"
    jobs.began(job, ["/bin/bash", str(job.directory / "script")], environment, signal.SIGTERM, 10)


def find(name):
    job = Job.known(name.partition(".")[0])
    return job or fail(f"qstat: Unknown Job Id {name}", 153)


def clock(seconds):
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def qstat(words):
    history = words[0] == "-x"
    words = words[history:]
    if words[:3] != ["-f", "-F", "json"]:
        fail(f"qstat: illegal option {words}", 2)
    job = find(words[3])
    asked = job.asked
    nodes = NODES[: asked["nodes"]]
    said = {
        "Job_Name": asked["name"],
        "Resource_List": {
            "ncpus": asked["nodes"] * asked["cores"],
            "place": asked["place"],
            "walltime": clock(asked["seconds"]),
        },
    }
    if job.state == "pending":
        said |= {"job_state": "Q", "comment": "Not Running: Insufficient amount of resource: ncpus "}
    else:
        said |= {
            "job_state": "R",
            "exec_host": "+".join(f"{node}/0*{asked['cores']}" for node in nodes),
            "resources_used": {"walltime": "00:00:00"},
            "stime": time.ctime(job.read("began")),
            "run_count": 1,
        }
    ended = job.read("ended")
    if ended is not None:
        if not history:
            fail(f"qstat: {words[3]} Job has finished, use -x or -H to obtain historical job information", 35)
        status = ended["status"]
        said |= {"job_state": "F", "Exit_status": status if status >= 0 else 256 - status}
    number = asked["number"]
    print(json.dumps({"timestamp": int(time.time()), "pbs_server": SERVER, "Jobs": {f"{number}.{SERVER}": said}}))


def qdel(words):
    job = find(words[0])
    if job.state == "pending":
        job.write("ended", {"status": 0, "how": "cancel"})
    (job.directory / "cancel").touch()


def pbsnodes(words):
    if words != ["-a", "-F", "json"]:
        fail(f"pbsnodes: illegal option {words}", 2)
    node = {"state": "free", "resources_available": {"ncpus": CORES}}
    print(json.dumps({"timestamp": int(time.time()), "nodes": {name: node for name in NODES}}))


def pbs_tmrsh(words):
    host, *command = words
    if "PBS_ENVIRONMENT" not in os.environ:
        fail("pbs_tmrsh: not executing under PBS", 255)
    job = find(os.environ["PBS_JOBID"])
    if f"{host}\n" not in (job.directory / "nodes").read_text():
        fail(f'pbs_tmrsh: host "{host}" is not a node in job', 255)
    # A task has the job's environment, not that of who launches it, and its output goes to the job's.
    process = subprocess.Popen(
        command,
        env=job.read("environment"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    job.note(process.pid)
    sys.exit(process.wait())


COMMANDS = {command.__name__: command for command in (qsub, qstat, qdel, pbsnodes, pbs_tmrsh)}
COMMANDS[pathlib.Path(sys.argv[0]).name](sys.argv[1:])
