"""Rows of several workers: a server with one and with more, and messages from loop to loop.

Workers want a processor each, and the load one more. Where there are not so many, all of them share what there is, and the row's
note says so: CPU time for a request can still be told, how evenly the requests are shared out cannot.
"""
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile

from harness import measure
from harness.measure import Trouble, in_turns, pinned, run_json, running, summary

SAID = {"echo": r"worker \d+: (\d+) connections, (\d+) requests", "httpd": r"httpd: (\d+) connections, (\d+) responses"}


def places(workers, processors):
    """(cores of the servers, cores of the load), as pinned() takes them."""
    every = [str(n) for n in range(processors)]
    return ",".join(every[:workers]), ",".join(every[workers:] or every)


def note(workers, processors):
    """What these processors mean for a row of so many workers."""
    if processors > workers:
        return f"the load has {processors - workers} of {processors} processors to itself"
    return (f"the load shares {processors} processors with the workers: how many requests each worker got, and the time on the "
            "clock, say as much about the load as about the workers; CPU time for each counts")


def shares(said, pattern):
    """What the workers said at their end, as figures; nothing of one alone."""
    found = [(int(c), int(r)) for c, r in re.findall(pattern, said)]
    if len(found) < 2:
        return {}
    connections, requests = zip(*found)
    return {"least": min(requests), "most": max(requests), "uneven": max(requests) / max(1, min(requests)),
            "uneven_connections": max(connections) / max(1, min(connections))}


def ended(process):
    """What a server says when it is told to end."""
    process.send_signal(signal.SIGTERM)
    try:
        return "".join(process.communicate(timeout=20))
    except subprocess.TimeoutExpired:
        raise Trouble("it does not end") from None


# ---- the two servers: (command before the number of workers and after it, the load) ----


class EchoLoad:
    def __init__(self, bench, row, cores):
        self.row, self.cores = row, cores
        self.program, self.requests = bench.peers.program("echo", "load"), bench.much(row.requests)
        self.loads = {}

    def go(self, label, line):
        """(requests, seconds)."""
        if label not in self.loads:
            self.loads[label] = measure.Load(self.program, line, self.row.connections, self.requests, self.row.size, self.cores)
        return self.requests, self.loads[label].go()[0]

    def end(self):
        for one in self.loads.values():
            one.end()


class WrkLoad:
    SECONDS = 1

    def __init__(self, bench, row, cores):
        self.row, self.cores = row, cores

    def go(self, label, line):
        port = re.search(r":(\d+) \(", line).group(1)
        out = measure.run(pinned(self.cores, [shutil.which("wrk"), "-t1", f"-c{self.row.connections}", f"-d{self.SECONDS}s",
                                              f"http://127.0.0.1:{port}/page"]))
        if "Non-2xx" in out or "Socket errors" in out:
            raise Trouble("wrk got something else than pages")
        return int(re.search(r"(\d+) requests in", out).group(1)), self.SECONDS

    def end(self):
        pass


def commands(bench, row, root):
    """{label: (command, environment)}."""
    httpd = os.path.join(bench.peers.build, "examples", "httpd")
    who = {}
    for n in row.workers:
        name = f"coil {n} worker{'s' if n > 1 else ''}"
        for backend in bench.backends:
            env = bench.peers.environment("coil", backend)
            command = ([httpd, "-w", str(n), "127.0.0.1:0", root] if row.program == "httpd" else
                       [bench.peers.program("coil", "echo"), "tcp", "4096", "sock", str(n)])
            who[f"{name}, {backend}"] = (command, env)
    return who


def workers(bench, row):
    if row.program == "httpd" and not shutil.which("wrk"):
        return {}, {"all": "wrk is missing"}
    server_cores, load_cores = places(max(row.workers), measure.processors())
    figures, walls, said = {}, {}, {}
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(tempfile.TemporaryDirectory())
        with open(os.path.join(root, "page"), "wb") as f:
            f.write(b"x" * row.size)
        processes, failed = stack.enter_context(running(commands(bench, row, root), server_cores))
        load = (WrkLoad if row.program == "httpd" else EchoLoad)(bench, row, load_cores)

        def once(label):
            p, line = processes[label]
            before = measure.on_cpu_ns(p.pid)
            requests, seconds = load.go(label, line)
            walls.setdefault(label, []).append(seconds * 1e6 / requests)
            return (measure.on_cpu_ns(p.pid) - before) / requests / 1000

        try:
            seen, lost = in_turns(processes, once, bench.times(row), bench.progress, warm_up=True, patience=bench.patience)
        finally:
            load.end()
        for label, values in seen.items():
            figures[label] = {**summary(values), "wall": summary(walls[label])["median"]}
            try:
                said[label] = ended(processes[label][0])
            except Trouble as e:
                failed[f"shares of {label}"] = str(e)
    for label, text in said.items():
        figures[label] |= shares(text, SAID[row.program])
    return figures, {**failed, **lost}


# ---- messages ----


def messages(bench, row):
    program = [bench.peers.program("coil", "workers")]
    who = {}
    for name, mailbox, spin in [(f"coil {m:,}", m, None) for m in row.mailboxes] + [("coil spinning", row.mailboxes[-1], "0.00005")]:
        for backend in bench.backends:
            env = bench.peers.environment("coil", backend) | ({"BENCH_SPIN": spin} if spin else {})
            who[f"{name}, {backend}"] = ([*program, str(max(1, bench.much(row.millions))), str(row.batch), str(mailbox)], env)
    seen, failed = in_turns(who, lambda label: run_json(*who[label]), bench.times(row), bench.progress, patience=bench.patience)
    figures = {}
    for label, runs in seen.items():
        figures[label] = summary([one["ns"] for one in runs])
        figures[label]["cpu"] = summary([one["cpu_ns"] for one in runs])["median"]
        figures[label]["trip"] = summary([one["round_trip_ns"] for one in runs])["median"]
    return figures, failed
