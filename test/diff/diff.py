#!/usr/bin/env python3
"""The differential runner: random scripts of tasks, played on coil and on CPython, compared event by event.

    diff.py PLAYER run N [SEED]     N seeds from SEED on (1); what differs is made as small as it can be and shown
    diff.py PLAYER script FILE      one script, both traces side by side
    diff.py PLAYER record           the traces that the tests compare with, again (CPython 3.13 or newer)
    diff.py PLAYER coverage N       how often each statement occurred, and how it ended

PLAYER is diff_player of a build folder. With CPython older than 3.13 the scripts leave out what has changed since.
Exit status 1 if something differs. `./dev diff` calls this.
"""

import collections
import os
import re
import subprocess
import sys
import time

import oracle
import shrink
from script import Script

HERE = os.path.dirname(os.path.abspath(__file__))
HASHES = os.path.join(HERE, "recorded", "hashes.txt")
TRACES = os.path.join(HERE, "recorded", "traces.txt")
SCRIPTS, WHOLE = 20000, 500
LEVEL = 13 if sys.version_info >= (3, 13) else 11
BATCH = 250
PATIENCE = 20  # seconds for one script


class Player:
    """coil's side. It may crash or hang: that is an outcome as others are."""

    def __init__(self, path):
        self.path = path
        self.process = None

    def start(self):
        self.process = subprocess.Popen([self.path, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def play(self, text):
        """The trace of a script."""
        if not self.process:
            self.start()
        # It is given up by its own alarm, so nothing here needs to watch the time.
        try:
            self.process.stdin.write(text.rstrip("\n") + "\n.\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        lines = []
        for line in self.process.stdout:
            if line == ".\n":
                return "".join(lines)
            lines.append(line)
        words = self.process.stderr.read().strip().splitlines()
        lines.append(f"the player died: {how_it_ended(self.process.wait())}{': ' + words[-1] if words else ''}\n")
        self.process = None
        return "".join(lines)

    def stream(self, first, n):
        """Pairs of script and trace, for n seeds from `first` on; the rest is missing where it died."""
        process = subprocess.Popen([self.path, "play", str(first), str(n), str(LEVEL)],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        parts, lines = [], []
        with process:
            for line in process.stdout:
                if line != ".\n":
                    lines.append(line)
                    continue
                parts.append("".join(lines))
                lines = []
                if len(parts) == 2:
                    yield tuple(parts)
                    parts = []
        if parts:
            yield parts[0], "".join(lines) + f"the player died: {how_it_ended(process.returncode)}\n"


def how_it_ended(status):
    return f"signal {-status}" if status < 0 else f"exit status {status}"


class Progress:
    """One line that moves, on a terminal; else nothing."""

    def __init__(self, total, what):
        self.total, self.what = total, what
        self.done = 0
        self.began = time.monotonic()
        self.moving = sys.stderr.isatty()

    def step(self):
        self.done += 1
        if self.moving and (self.done % 50 == 0 or self.done == self.total):
            share = self.done / self.total
            took = time.monotonic() - self.began
            print(f"\r\033[K[{'#' * int(30 * share):30}] {self.done}/{self.total} {self.what}, "
                  f"{took * (1 / share - 1):.0f} s left", end="", file=sys.stderr, flush=True)

    def clear(self):
        if self.moving:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def pairs(player, first, n):
    """(seed, script, coil's trace) of n seeds; a player that died goes on behind its last script."""
    seed = first
    while seed < first + n:
        for text, trace in player.stream(seed, min(BATCH, first + n - seed)):
            yield seed, text, trace
            seed += 1


def side_by_side(left, right, titles, width=74, enough=12):
    """Two traces, line by line; `|` where they go apart. What comes long after that is left out."""
    a, b = left.splitlines(), right.splitlines()
    rows = [f"  {titles[0]:{width}}  {titles[1]}"]
    apart = 0
    for i in range(max(len(a), len(b))):
        one, two = (a[i] if i < len(a) else ""), (b[i] if i < len(b) else "")
        apart += one != two
        if apart > enough:
            rows.append(f"  ({max(len(a), len(b)) - i} lines more)")
            break
        mark = "|" if one != two else " "
        rows.append(f"{mark} {one:{width}} {mark} {two if one != two else ''}".rstrip())
    return "\n".join(rows)


def show(script, ours, theirs):
    print(script, end="")
    print(side_by_side(ours, theirs, ("coil", f"CPython {sys.version.split()[0]} (where it differs)")))


def report(player, seed, text):
    """What differs in this seed, made small."""
    def differs(script):
        ours = player.play(str(script))
        return not ours.startswith("line ") and ours != oracle.play(script)  # "line N: what is wrong with it"

    script = Script.parse(text)
    # The player may have died in the middle of many; alone it tells the same, or the trouble is between scripts.
    if not differs(script):
        print(f"seed {seed} differs only behind other scripts: diff_player play {max(seed - BATCH, 0)} {BATCH + 1}")
        return
    small = shrink.shrink(script, differs)
    path = os.path.join(os.path.dirname(player.path) or ".", f"diff-{seed}.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.write(str(small))
    print(f"seed {seed} differs; the smallest script that does so:\n")
    show(small, player.play(str(small)), oracle.play(small))
    print(f"\nagain: ./dev diff 1 {seed}; this script alone: ./dev diff {path}\n", flush=True)


def run(player, n, first):
    differ = events = 0
    progress = Progress(n, "scripts")
    for seed, text, ours in pairs(player, first, n):
        theirs = oracle.play(Script.parse(text))
        progress.step()
        events += theirs.count("\n")
        if ours != theirs:
            progress.clear()
            report(player, seed, text)
            differ += 1
            if differ == 5:
                print("and perhaps more")
                break
    progress.clear()
    player.stop()
    print(f"{progress.done} scripts, {events} events, seeds {first} to {first + progress.done - 1}, "
          f"CPython {sys.version.split()[0]}: {differ or 'none'} differ{'s' if differ == 1 else ''}")
    return 1 if differ else 0


def one(player, path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    ours = player.play(text)
    player.stop()
    if ours.startswith("line "):
        sys.exit(f"{path}: {ours.strip()}")
    script = Script.parse(text)
    theirs = oracle.play(script)
    show(script, ours, theirs)
    return 0 if ours == theirs else 1


def fnv1a(text, digest=0xCBF29CE484222325):
    for byte in text.encode():
        digest = ((digest ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return digest


def scripts(player, first, n):
    out = subprocess.run([player.path, "make", str(first), str(n), str(LEVEL)], check=True,
                         stdout=subprocess.PIPE, text=True).stdout
    return out.split("\n.\n")[:-1]


def record(player):
    if LEVEL < 13:
        sys.exit("diff.py: records are made with CPython 3.13 or newer (COIL_ORACLE_PYTHON)")
    os.makedirs(os.path.dirname(HASHES), exist_ok=True)
    progress = Progress(SCRIPTS, "recorded")
    hashes, traces = [], []
    for seed, text in enumerate(scripts(player, 0, SCRIPTS)):
        text += "\n"
        trace = oracle.play(Script.parse(text))
        hashes.append(f"{fnv1a(text + trace):016x}\n")
        if seed < WHOLE:
            traces.append(f"{text}.\n{trace}.\n")
        progress.step()
    progress.clear()
    what = f"of seeds 0, 1, 2, ... on CPython {sys.version.split()[0]}"
    with open(HASHES, "w", encoding="utf-8") as file:
        file.write(f"hashes of scripts and traces, {what}; ./dev diff record\n" + "".join(hashes))
    with open(TRACES, "w", encoding="utf-8") as file:
        file.write(f"# Scripts and traces, {what}; ./dev diff record\n" + "".join(traces))
    print(f"recorded: {len(hashes)} hashes, {len(traces)} whole traces")
    return 0


OUTCOME = re.compile(r"^\S+ (!?)([tm])\d* (\w+)([^=]*) = *(\S*)")
WORDS = [(r"^e\d$", "error"), (r"^\(.*", "group"), (r"^\[.*", "list"), (r"^-?\d+$", "number"), (r":m\d$", " with words")]


def statements():
    """Every statement of the language, from where it stands."""
    with open(os.path.join(HERE, "script.h"), encoding="utf-8") as file:
        return re.findall(r"^    X\((\w+),", file.read(), re.M)


def nested(block, inside=()):
    """Pairs such as "timeout in group"."""
    for s in block:
        if s.op in ("timeout", "group", "wait_for_call", "with", "try"):
            yield from (f"{s.op} in {outer}" for outer in inside)
            yield from nested(s.inner, (*inside, s.op))
            yield from nested(s.other, (*inside, s.op))
        else:
            yield from nested(s.inner, inside)


def coverage(player, n):
    """Statements and how they ended, from coil's traces (which are CPython's, where nothing differs)."""
    seen = {op: collections.Counter() for op in statements()}
    in_callbacks, things, blocks = (collections.Counter() for _ in range(3))
    for _, text, trace in pairs(player, 0, n):
        script = Script.parse(text)
        for body in script.bodies:
            blocks.update(nested(body))
        for line in trace.splitlines():
            match = OUTCOME.match(line)
            # `m` is the end that every script has.
            if not match or match.group(2) == "m" or match.group(3) == "ends":
                continue
            called, _, op, args, outcome = match.groups()
            outcome = "ok" if op in ("look", "return", "raise", "raise_cancelled") else outcome
            for pattern, word in WORDS:
                outcome = re.sub(pattern, word, outcome)
            seen[op][outcome] += 1
            in_callbacks[op] += called == "!"
            for arg in re.findall(r"\b[LCESBQ]\d", args):
                kind = script.settings[arg].split(":")[0] + " queue" if arg[0] == "Q" else arg
                things[kind] += outcome != "-"
    print(f"{'statement':18} {'times':>7} {'in callbacks':>13}  outcomes (-: there was nothing to do it with)")
    for op, outcomes in seen.items():
        print(f"{op:18} {sum(outcomes.values()):7} {in_callbacks[op] or '':>13}  "
              + ", ".join(f"{word} {times}" for word, times in outcomes.most_common()))
    for title, counter in (("used", things), ("nested", blocks)):
        print(f"\n{title}: " + ", ".join(f"{word} {times}" for word, times in counter.most_common()))
    missing = [op for op, outcomes in seen.items() if not set(outcomes) - {"-"}]
    print(f"\nnever: {', '.join(missing) or 'none'}")
    return 1 if missing else 0


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    player, word, rest = Player(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if word == "run" and 1 <= len(rest) <= 2:
        return run(player, int(rest[0]), int(rest[1]) if len(rest) > 1 else 1)
    if word == "script" and len(rest) == 1:
        return one(player, rest[0])
    if word == "record" and not rest:
        return record(player)
    if word == "coverage" and len(rest) == 1:
        return coverage(player, int(rest[0]))
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main())
