"""What operations cost in instructions: instructions.py BUILD_DIR [MODE]... [--write]

Unlike time, instructions are the same on a busy machine. Each mode of coil_micro runs under callgrind with two counts, and the
difference is divided. The limits are in instructions.txt beside this file: what was measured and three in a hundred more. Above its
limit a mode fails; far below, it says so, for the limit wants to come down. Another compiler or processor than the one the
limits were made with makes other instructions: then it only reports. --write sets the limits anew.
"""
import concurrent.futures
import os
import platform
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
LIMITS = os.path.join(HERE, "instructions.txt")
MARGIN = 1.03
FEW, MANY = 2000, 8000
HEAD = """# Instructions for each operation, at most: what was measured on epoll and 3 % more. ./dev instructions compares,
# ./dev instructions --write sets them anew.
"""


def here():
    """What decides which instructions there are."""
    version = subprocess.run([os.environ.get("CC", "gcc"), "-dumpfullversion"], capture_output=True, text=True).stdout.strip()
    return f"{os.path.basename(os.environ.get('CC', 'gcc'))} {version.split('.')[0]} {platform.machine()}"


def read_limits():
    """(the compiler they were made with, {mode: limit})."""
    with open(LIMITS) as f:
        text = f.read()
    made_with = re.search(r"^# with (.*)$", text, re.MULTILINE).group(1)
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return made_with, {mode: int(limit) for mode, limit in lines}


def write_limits(counted):
    with open(LIMITS, "w") as f:
        f.write(f"{HEAD}# with {here()}\n")
        f.writelines(f"{mode:12} {round(count * MARGIN):6}\n" for mode, count in counted.items())


def collected(program, mode, n):
    """All instructions of one run."""
    with tempfile.NamedTemporaryFile() as out:
        done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}", program, mode, str(n)],
                              env={**os.environ, "COIL_BACKEND": "epoll"}, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        raise SystemExit(f"{mode}: {done.stderr.strip()}")
    return int(found.group(1))


def count(program, mode):
    return (collected(program, mode, MANY) - collected(program, mode, FEW)) / (MANY - FEW)


def verdict(counted, limit):
    if counted > limit:
        return "TOO MANY"
    return "fewer: lower the limit" if counted < limit / MARGIN * 0.95 else ""


def main():
    build, words = os.path.abspath(sys.argv[1]), [w for w in sys.argv[2:] if w != "--write"]
    program = os.path.join(build, "bench_coil_micro")
    made_with, limits = read_limits()
    unknown = [w for w in words if w not in limits]
    if unknown:
        raise SystemExit(f"no limit for {' '.join(unknown)}; there are: {' '.join(limits)}")
    chosen = {mode: limit for mode, limit in limits.items() if not words or mode in words}
    writing = "--write" in sys.argv
    if writing and words:
        raise SystemExit("--write sets all of the limits")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = dict(zip(chosen, pool.map(lambda mode: count(program, mode), chosen)))
    if writing:
        write_limits(counted)
        return 0
    over = 0
    for mode, limit in chosen.items():
        over += counted[mode] > limit
        print(f"{mode:12} {counted[mode]:8.1f}  of {limit:6}  {verdict(counted[mode], limit)}".rstrip())
    if made_with != here():
        print(f"the limits were made with {made_with}, this is {here()}: only reported")
        return 0
    print(f"instructions: {over} of {len(chosen)} over their limit" if over else "instructions: all within their limits")
    return 1 if over else 0


sys.exit(main())
