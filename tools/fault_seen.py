"""How complete a sweep of faults was: which allocations, kernel calls with which errors and waits there are, and which were
reached and failed. tools/fault.py prints it; src/testing/fault_seen.h says what the programs tell.

    seen = Seen(build)
    seen.add(kind, program, path)      the file of COIL_FAULT_SEEN that a program has written
    print("\\n".join(seen.statement()))
"""
import collections
import functools
import pathlib
import re
import subprocess

# What only io_uring's backend has.
OF_URING = re.compile(r"^(?:io/(?:uring|provided|ring)\w*\.c:|io_uring_|uring_|mmap_fd$)")
ALLOCATES = re.compile(r"\scoil__(?:z|re)?alloc(?:-0x[0-9a-f]+)?$")
CALLS_IT = re.compile(r"\s<coil__(?:z|re)?alloc>$")
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s")
PLACE = re.compile(r"^(\S+?\.[ch]):(\d+)(?: \(discriminator \d+\))?$")
WAIT = re.compile(r'(?:\.what\s*=\s*|OP_WAIT_CLASS\(\s*)"([^"]+)"')


def short(path):
    """`net/reader.c` for whatever path the compiler was given."""
    return path.rpartition("/src/")[2]


def sites_of(library):
    """Every call of the allocator in a library: {"net/reader.c:12"}."""
    text = subprocess.run(["objdump", "-drl", "--no-show-raw-insn", str(library)], check=True, stdout=subprocess.PIPE).stdout
    sites, place = set(), None
    for line in text.decode(errors="replace").splitlines():
        match = PLACE.match(line)
        if match:
            place = f"{short(match[1])}:{match[2]}"
        elif ": R_" in line and ALLOCATES.search(line) and place:
            sites.add(place)
    return sites


@functools.lru_cache(None)
def anchor_of(program):
    """The address of coil__fault_sweep; None: it is no program of COIL_TEST, and knows nothing of faults."""
    names = subprocess.run(["nm", program], check=True, stdout=subprocess.PIPE, text=True).stdout
    match = re.search(r"^([0-9a-f]+) \w coil__fault_sweep$", names, re.MULTILINE)
    return int(match[1], 16) if match else None


@functools.lru_cache(None)
def places_of(program):
    """Where the allocator returns to in a program, as distances to the anchor: {123: "net/reader.c:12"}."""
    anchor = anchor_of(program)
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", program], check=True, stdout=subprocess.PIPE, text=True).stdout
    returns, called = [], False
    for line in text.splitlines():
        match = INSTRUCTION.match(line)
        if match and called:
            returns.append(int(match[1], 16))
        called = bool(match and CALLS_IT.search(line))
    # A return address stands behind its call.
    asked = "\n".join(f"{at - 1:x}" for at in returns)
    told = subprocess.run(["addr2line", "-e", program], input=asked, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = {}
    for at, line in zip(returns, told.splitlines()):
        match = PLACE.match(line)
        found[at - anchor] = f"{short(match[1])}:{match[2]}" if match else line
    return found


def waits_of(sources):
    """The words of every wait: {"sleep"}."""
    words = set()
    for path in pathlib.Path(sources).rglob("*.c"):
        if path.parts[-2] not in ("testing", "cmd"):
            words |= set(WAIT.findall(path.read_text()))
    return words


class Seen:
    def __init__(self, build, sources, uring=True):
        """`uring`: is there one? Else nobody misses what only it has."""
        build = pathlib.Path(build)
        libraries = [build / name for name in ("libcoil.a", "libcoil-tls.a") if (build / name).exists()]
        self.sites = set().union(*(sites_of(library) for library in libraries))
        self.uring = uring
        if not uring:
            self.sites = {site for site in self.sites if not OF_URING.match(site)}
        self.waits = waits_of(sources)
        self.addresses = collections.defaultdict(set)  # (kind, program) -> {(distance to the anchor, state)}
        self.words = collections.defaultdict(set)      # (kind, state) -> words
        self.calls, self.calls_reached = set(), set()
        self.pairs, self.pairs_failed = set(), set()

    def add(self, kind, program, path):
        try:
            lines = pathlib.Path(path).read_text().splitlines()
        except FileNotFoundError:
            return
        anchor = 0
        for line in lines:
            what, *rest = line.split(" ", 3 if line.startswith("pair") else 2)
            if what == "anchor":
                anchor = int(rest[0], 16)
            elif what == "site":
                self.addresses[kind, program].add((int(rest[0], 16) - anchor, rest[1]))
            elif what == "wait":
                for state in {"reached", rest[0]}:
                    self.words[kind, state].add(rest[1])
            elif what == "call":
                self.calls.add(rest[0])
                if rest[1] == "reached":
                    self.calls_reached.add(rest[0])
            elif what == "pair" and (self.uring or not OF_URING.match(rest[0])):
                self.pairs.add((rest[0], rest[1]))
                if rest[2] == "failed":
                    self.pairs_failed.add((rest[0], rest[1]))

    def places(self):
        """{(kind, state): {"net/reader.c:12"}}; what was failed was reached."""
        found = collections.defaultdict(set)
        for (kind, program), sites in self.addresses.items():
            where = places_of(program)
            for distance, state in sites:
                for each in {"reached", state}:
                    found[kind, each].add(where.get(distance, f"{distance:x}"))
        return found

    def missing(self):
        """What was never failed: {kind: {...}}, for all kinds that a sweep has to be complete in."""
        places = self.places()
        left = {kind: self.sites - places[kind, "failed"] for kind in ("alloc", "alloc_all")}
        left["errno"] = {" ".join(pair) for pair in self.pairs - self.pairs_failed}
        left |= {kind: (self.waits | self.waits_met()) - self.words[kind, "failed"] for kind in ("cancel", "timeout")}
        return left

    def waits_met(self):
        return set().union(*(words for (_, state), words in self.words.items() if state == "reached"))

    def statement(self):
        """Lines for people."""
        lines, places = [], self.places()
        kinds = {kind for kind, _ in self.addresses}
        if kinds:
            reached = set().union(*(places[kind, "reached"] for kind in kinds)) & self.sites
            told = ", ".join(f"{len(places[kind, 'failed'] & self.sites)} failed by {kind}" for kind in sorted(kinds))
            lines.append(f"allocations: {len(self.sites)} places in the library, {len(reached)} reached, {told}")
            lines += listing("never reached", self.sites - reached)
            for kind in sorted(kinds):
                lines += listing(f"reached and not failed by {kind}", (places[kind, "reached"] & self.sites) - places[kind, "failed"])
        if self.calls_reached:
            fallible = {call for call, _ in self.pairs}
            lines.append(f"kernel calls: {len(self.calls)}, {len(fallible)} of them may fail; {len(self.pairs)} pairs of a call and an "
                         f"error, {len(self.pairs_failed)} failed")
            lines += listing("never made", fallible - self.calls_reached)
            missed = {pair for pair in self.pairs - self.pairs_failed if pair[0] in self.calls_reached}
            lines += listing("made, and not failed with", {" ".join(pair) for pair in missed})
        waiting = {kind for kind, _ in self.words}
        if waiting:
            reached = set().union(*(self.words[kind, "reached"] for kind in waiting))
            told = ", ".join(f"{len(self.words[kind, 'failed'])} ended by {kind}" for kind in sorted(waiting))
            lines.append(f"waits: {len(self.waits | reached)} kinds, {len(reached)} reached, {told}")
            lines += listing("never reached", self.waits - reached)
        return lines


def listing(title, things):
    return [f"    {title}: {', '.join(sorted(things))}"] if things else []
