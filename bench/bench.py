"""coil beside its peers: bench.py BUILD_DIR [WORD]... [--all] [--json] [--rounds N] [--scale S] [--no-calls] [--out FOLDER]

Each row runs everybody in turn, round after round in changing order, so that what the machine does meanwhile hits all
alike. The figure is the median of CPU time (user and system) for one operation, and the ratio is what to quote. coil runs
once for each backend that this build and this kernel have; a peer that cannot be had is named, with the reason.

A WORD chooses the row of that name, or those that have it in name or title. --all adds the peers that are not C, or not alike. FOLDER
(BUILD_DIR/figures) gets lines.jsonl and a plot for each row.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import time

from harness import report, svg
from harness.kinds import KINDS, Bench
from harness.machine import describe
from harness.measure import Progress, can_count
from harness.peers import Missing, Peers
from harness.rows import chosen

BACKENDS = ["epoll", "uring"]
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--all", action="store_true", help="more peers: Asio, Go, tokio, State Threads, asyncio, uvloop")
    parser.add_argument("--json", action="store_true", help="lines of JSON instead of text")
    parser.add_argument("--rounds", type=int, help="five else, and on a slow machine three of what takes long")
    parser.add_argument("--scale", type=float, default=1, help="so much of each workload; less than 1: only to see it run")
    parser.add_argument("--no-calls", action="store_true", help="system calls are not counted")
    parser.add_argument("--list", action="store_true", help="the rows, and nothing else")
    parser.add_argument("--out")
    return parser.parse_intermixed_args()


def accepted_backends(peers):
    """Those that coil can run on here; says which are missing."""
    have = []
    for backend in BACKENDS:
        tried = subprocess.run([*peers.command("coil", "micro"), "switch2", "1000"], capture_output=True, text=True,
                               env=peers.environment("coil", backend))
        if tried.returncode == 0:
            have.append(backend)
        else:
            why = tried.stderr.strip().splitlines()[-1:]
            print(f"no column for the backend {backend}: {' '.join(why)}", file=sys.stderr, flush=True)
    return have


def room_for(row, scale):
    """None, or why the machine is too small for a row of a million stacks."""
    if row.word != "parked":
        return None
    with open("/proc/meminfo") as f:
        free = next(int(line.split()[1]) for line in f if line.startswith("MemAvailable")) * 1024
    want = row.n * scale * 5000
    return None if free > want else f"it takes {want / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free"


def measured(bench, row):
    why_not = room_for(row, bench.scale)
    if why_not:
        return report.result(row, {}, {"all": why_not})
    try:
        figures, missing = KINDS[type(row).__name__](bench, row)
    except Missing as e:
        figures, missing = {}, {"all": str(e)}
    result = report.result(row, figures, missing)
    rounds = [f["rounds"] for f in figures.values() if "rounds" in f]
    if rounds and 1 < min(rounds) < bench.times(row):
        result["short"] = min(rounds)
    return result


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended
    options = arguments()
    rows = chosen(options.words)
    if options.list:
        print("\n".join(f"{row.word:16} {row.title}" for row in rows))
        return
    peers = Peers(os.path.abspath(options.build))
    progress = Progress(len(rows))
    counting = can_count() and not options.no_calls
    bench = Bench(peers, accepted_backends(peers), options.rounds, options.scale, options.all, counting, progress)
    if not counting and not options.no_calls:
        print("no system calls are counted: strace is missing", file=sys.stderr)
    out = options.out or os.path.join(peers.build, "figures")
    os.makedirs(out, exist_ok=True)
    machine, results, begun = describe(ROOT), [], time.monotonic()
    if options.json:
        print(json.dumps(machine))
    for row in rows:
        progress.row(row.word)
        results.append(measured(bench, row))
        progress.clear()
        print(json.dumps(results[-1]) if options.json else report.text(results[-1]) + "\n", flush=True)
        with open(os.path.join(out, row.word + ".svg"), "w") as f:
            f.write(svg.plot(results[-1]))
        machine["seconds"] = round(time.monotonic() - begun)
        report.write_lines(os.path.join(out, "lines.jsonl"), machine, results)  # so far: a run may be ended
    if not options.json:
        print(f"{report.judged(results)}\n{len(rows)} rows in {machine['seconds']} s; lines and plots: {out}")
    ours = [f"{row['word']}: {label}" for row in results for label in row["missing"] if label.startswith("coil")]
    if ours:
        raise SystemExit(f"coil itself could not be measured: {', '.join(ours)}")


main()
