"""coil beside its peers: bench.py BUILD_DIR [WORD].

Each row runs everybody in turn, round after round in changing order, so that what the machine does meanwhile hits all
alike; the figure is the median of CPU time for each operation, and the ratio is what to quote. Prints a table
and, with --json, a line of JSON a row.
"""
import json
import os
import random
import shutil
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
build = os.path.abspath(sys.argv[1])
words = [w for w in sys.argv[2:] if not w.startswith("--")]
as_json = "--json" in sys.argv
ROUNDS = 5

# what, mode, operations, peers
MICRO = [
    ("task switch, 2 tasks", "switch2", 1000000, ["st", "go"]),
    ("task switch, 1000 tasks", "switch1000", 1000000, ["st", "go"]),
    ("spawn and join, one by one", "spawn", 500000, ["st", "go"]),
    ("spawn and join, 1000 at a time", "spawn_batch", 500000, ["st", "go"]),
    ("call_soon", "call_soon", 2000000, ["uv"]),
    ("timer set and cancelled", "timer_cancel", 1000000, ["uv"]),
    ("timer set and fired, 300,000", "timer_expire", 300000, ["uv"]),
    ("file, 4 KiB from memory", "file_read", 200000, ["uv"]),
    ("file, stat on a thread", "file_stat", 100000, ["uv"]),
]
ECHO_CONNECTIONS, ECHO_REQUESTS = 50, 60000
NAMES = {"coil": "coil", "st": "State Threads", "go": "Go", "uv": "libuv", "epoll": "raw epoll"}


def program(peer, kind):
    name = f"bench_{peer}_{kind}"
    return next((p for p in (os.path.join(build, name), os.path.join(build, "bench", name)) if os.path.exists(p)),
                os.path.join(build, name))


def pinned(core, command):
    return ["taskset", "-c", str(core)] + command if shutil.which("taskset") and os.cpu_count() > 1 else command


def show(what, unit, figures):
    ours = figures["coil"]
    if as_json:
        print(json.dumps({"what": what, "unit": unit, **{k: round(v, 2) for k, v in figures.items()}}), flush=True)
        return
    rest = "   ".join(f"{NAMES[k]} {v:.1f} (coil is {ours / v:.2f} of it)" for k, v in figures.items() if k != "coil")
    print(f"  {what:32} {ours:8.1f} {unit}   {rest}", flush=True)


def micro(what, mode, n, peers):
    who = ["coil"] + [p for p in peers if os.path.exists(program(p, "micro"))]
    seen = {w: [] for w in who}
    for _ in range(ROUNDS):
        for w in random.sample(who, len(who)):
            out = subprocess.run(pinned(0, [program(w, "micro"), mode, str(n)]), check=True, capture_output=True,
                                 text=True).stdout
            seen[w].append(float(out))
    show(what, "ns", {w: statistics.median(v) for w, v in seen.items()})


def on_cpu_ns(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total


def echo():
    who = [w for w in ("coil", "epoll", "uv") if os.path.exists(program(w, "echo"))]
    servers, seen = {}, {w: [] for w in who}
    try:
        for w in who:
            p = subprocess.Popen(pinned(0, [program(w, "echo")]), stdout=subprocess.PIPE, text=True)
            servers[w] = (p, p.stdout.readline().strip())
        for _ in range(ROUNDS + 1):
            for w in random.sample(who, len(who)):
                p, port = servers[w]
                before = on_cpu_ns(p.pid)
                subprocess.run(pinned(1, [program("echo", "load"), port, str(ECHO_CONNECTIONS),
                                          str(ECHO_REQUESTS)]), check=True)
                seen[w].append((on_cpu_ns(p.pid) - before) / ECHO_REQUESTS / 1000)
    finally:
        for p, _ in servers.values():
            p.kill()
            p.wait()
    # The first round warmed everybody up.
    show(f"echo, {ECHO_CONNECTIONS} connections, server's CPU", "us", {w: statistics.median(v[1:]) for w, v in seen.items()})


def main():
    go = program("go", "micro")
    if not os.path.exists(go) and shutil.which("go"):
        subprocess.run(["go", "build", "-o", go, os.path.join(HERE, "go_micro.go")],
                       env={**os.environ, "GO111MODULE": "off", "GOCACHE": os.path.join(build, "go-cache")}, check=True)
    for row in MICRO:
        if not words or any(w in row[0] or w in row[1] for w in words):
            micro(*row)
    if not words or "echo" in words:
        echo()


main()
