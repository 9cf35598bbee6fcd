#!/usr/bin/env python3
"""Which lines and branches of src/ the tests have run, from gcc's counters; `./dev coverage` builds and runs them before.

    tools/coverage.py BUILD                        the table: a folder of src/ a paragraph, a file a line
    tools/coverage.py BUILD --missing FILE...      the branches of these that were never taken, and the lines never run
    tools/coverage.py BUILD --html                 a page a file, below BUILD/html
    tools/coverage.py BUILD --demand               status 1 when a floor has less than FLOORS says
    tools/coverage.py BUILD --forget               start again from nothing

A branch is a way that the unoptimised program can go at a condition: `if (a && b)` has four, two of a and two of b. A switch
has one a label, and one for the value that no label has.

What does not count, all of it by a rule and none of it by a remark in the source:
  - the lines of an assertion (COIL_CHECK, COIL_DCHECK): one way out of each ends the program. Only where it is a statement that
    has its lines to itself; where it shares one, all of the line counts. How many there are is printed.
  - what is not compiled in: other processors' code, what other build options would take.
"""
import argparse
import collections
import concurrent.futures
import html
import json
import os
import pathlib
import re
import subprocess
import sys

# The libraries and the command; what tests compile of src/ once more (test/loom) is theirs.
COUNTED = ["libcoil.a.p", "libcoil-tls.a.p", "coil.p"]

# A floor and the least percentage of its branches that must be taken; "" is all of them together. Where threads meet, a branch
# may be missed by chance: io, loop and task come to 100, and a handful may be missing before a run fails.
FLOORS = {"": 90, "src/io": 99.5, "src/loop": 99.5, "src/task": 99.5, "src/sync": 100, "src/combine": 100}

ASSERTION = re.compile(r"^\s*COIL_D?CHECK\(")
TEXT = re.compile(r'"(\\.|[^"\\])*"' + r"|'(\\.|[^'\\])'|/\*.*?(\*/|$)|//.*")
ENDS_WITH_IT = re.compile(r"^[^;]*;\s*\\?$")


class File:
    """What was counted of one source file."""

    def __init__(self, path):
        self.path = path
        self.lines = collections.Counter()  # line: how often it ran
        self.branches = {}  # (line, function): how often each way was taken
        self.asserted = 0  # branches left out because they belong to an assertion

    def add(self, line):
        number = line["line_number"]
        self.lines[number] += line["count"]
        taken = [branch["count"] for branch in line["branches"]]
        if not taken:
            return
        # A function of a header is in several objects: the same ways, so the counts add up.
        key = number, line.get("function_name", "")
        before = self.branches.get(key, [])
        length = max(len(before), len(taken))
        pad = lambda counts: counts + [0] * (length - len(counts))
        self.branches[key] = [a + b for a, b in zip(pad(before), pad(taken))]

    def leave_out_assertions(self, source):
        lines = assertion_lines(source)
        for key in [key for key in self.branches if key[0] in lines]:
            self.asserted += len(self.branches.pop(key))

    def figures(self):
        return Figures(
            len(self.lines), sum(count > 0 for count in self.lines.values()),
            sum(len(counts) for counts in self.branches.values()),
            sum(count > 0 for counts in self.branches.values() for count in counts),
            self.asserted)

    def missing(self):
        """line: what to say of it, for lines that never ran and ways that were never taken."""
        said = {number: "never run" for number, count in self.lines.items() if not count}
        for (number, _), counts in sorted(self.branches.items()):
            never = [str(i) for i, count in enumerate(counts) if not count]
            if never and number not in said:
                said[number] = f"{len(never)} of {len(counts)} never taken: {', '.join(never)}"
        return said


class Figures(collections.namedtuple("Figures", "lines run branches taken asserted")):
    def __add__(self, other):
        return Figures(*(a + b for a, b in zip(self, other)))

    def percent(self):
        return 100 * self.taken / self.branches if self.branches else 100.0

    def row(self, name):
        return (f"{name:34} {self.lines:7} {self.run:7} {self.branches:9} {self.taken:7} "
                f"{self.branches - self.taken:7} {cut(self.percent()):>8}")


NOTHING = Figures(0, 0, 0, 0, 0)


def cut(percent):
    """Never rounded up: 100.00 says that nothing is missing."""
    return f"{int(percent * 100) / 100:.2f}"


def assertion_lines(source):
    """The numbers of the lines that assertions take up, from their name to their semicolon."""
    found = set()
    for first, line in enumerate(source):
        if not ASSERTION.match(line):
            continue
        depth = 0
        for number, line in enumerate(source[first:], first):
            bare = TEXT.sub("", line)
            depth += bare.count("(") - bare.count(")")
            if depth == 0:
                break
        if ENDS_WITH_IT.search(bare):
            found.update(range(first + 1, number + 2))
    return found


def gcov(build, objects):
    """What gcov says of these objects, which are below the folder build."""
    done = subprocess.run(["gcov", "--json-format", "--stdout", "--branch-probabilities", *objects], cwd=build,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # Its status is not 0 where an object has no functions at all, and 0 where counts are of another build.
    for line in done.stderr.splitlines():
        if "mismatch" in line:
            sys.exit(f"coverage: {line}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def inside_src(build, name):
    """The name of a source below src/, as from the top of the tree, where we are; None for others."""
    path = os.path.relpath(os.path.join(build, name))
    return path if path.startswith("src/") else None


def collect(build):
    objects = sorted(str(note.relative_to(build)) for folder in COUNTED for note in (build / folder).rglob("*.gcno"))
    if not objects:
        sys.exit(f"coverage: nothing in {build} was built for it; ./dev coverage does that")
    files = {}
    parts = [objects[i::8] for i in range(8)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for told in pool.map(lambda part: gcov(build, part) if part else [], parts):
            for source in (source for unit in told for source in unit["files"]):
                path = inside_src(build, source["file"])
                if not path:
                    continue
                file = files.setdefault(path, File(path))
                for line in source["lines"]:
                    file.add(line)
    for file in files.values():
        file.leave_out_assertions(read(file.path))
    return files


def forget(build):
    for counts in build.rglob("*.gcda"):
        counts.unlink()


def read(path):
    return pathlib.Path(path).read_text(encoding="utf-8").splitlines()


def by_folder(files):
    folders = collections.defaultdict(list)
    for path in sorted(files):
        folders[os.path.dirname(path)].append(files[path])
    return folders


def table(files):
    head = f"{'':34} {'lines':>7} {'run':>7} {'branches':>9} {'taken':>7} {'missing':>7} {'percent':>8}"
    print(head)
    sums = {}
    for folder, members in by_folder(files).items():
        print()
        for file in members:
            print(file.figures().row("  " + os.path.basename(file.path)))
        sums[folder] = sum((file.figures() for file in members), NOTHING)
        print(sums[folder].row(folder))
    print("\n" + head)
    for folder, figures in sums.items():
        print(figures.row(folder))
    total = sum(sums.values(), NOTHING)
    print(f"\n{total.taken} of {total.branches} branches taken ({cut(total.percent())} %), {total.run} of {total.lines} lines run; "
          f"{total.asserted} branches of assertions left out")


def show_missing(files, wanted):
    for path in wanted:
        fitting = [name for name in sorted(files) if name == path or name.startswith(path.rstrip("/") + "/")]
        if not fitting:
            sys.exit(f"coverage: {path} has no branches, or is not below src/")
        for name in fitting:
            source = read(name)
            for first, last, what in spans(files[name]):
                lines = f"{first}" if first == last else f"{first}-{last}"
                print(f"{name}:{lines}: {what}: {source[first - 1].strip()}")


def spans(file):
    """What is missing as (first line, last line, what): lines that follow each other and never ran are one."""
    found = []
    counted = sorted(file.lines)
    before = dict(zip(counted[1:], counted))
    for number, what in sorted(file.missing().items()):
        if found and what == "never run" == found[-1][2] and before.get(number) == found[-1][1]:
            found[-1] = found[-1][0], number, what
        else:
            found.append((number, number, what))
    return found


def demand(files):
    folders = by_folder(files)
    low = []
    for floor, least in FLOORS.items():
        members = [file for folder, inside in folders.items() if folder == floor or not floor for file in inside]
        percent = sum((file.figures() for file in members), NOTHING).percent()
        if percent < least:
            low.append(f"{floor or 'src'}: {cut(percent)} % of the branches are taken, {least} % must be")
    print("\n".join(low) or "coverage: every floor has what it must have")
    return 1 if low else 0


STYLE = """body { font: 13px monospace; white-space: pre } a { color: inherit }
.r { background: #e6f5e6 } .n { background: #f8d0d0 } .b { background: #fbeeb8 } i { color: #888; font-style: normal }"""


def write_pages(files, to):
    to.mkdir(parents=True, exist_ok=True)
    index = []
    for path, file in sorted(files.items()):
        page = path.removeprefix("src/").replace("/", "_") + ".html"
        missing = file.missing()
        body = []
        for number, text in enumerate(read(path), 1):
            said = missing.get(number)
            looks = "n" if said == "never run" else "b" if said else "r" if number in file.lines else ""
            count = file.lines[number] if number in file.lines else ""
            remark = f"  <i>{said}</i>" if said else ""
            body.append(f'<span class="{looks}" id="{number}"><i>{number:5} {count:>10}</i> {html.escape(text)}</span>{remark}')
        (to / page).write_text(whole_page(path, body), encoding="utf-8")
        index.append(f'<a href="{page}">{html.escape(file.figures().row(path))}</a>')
    (to / "index.html").write_text(whole_page("src", index), encoding="utf-8")
    print(f"coverage: {to}/index.html")


def whole_page(title, body):
    return (f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style><body>'
            + "\n".join(body) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--missing", nargs="+", metavar="FILE", help="list what was never taken, in a file or a folder")
    parser.add_argument("--html", action="store_true", help="write pages below BUILD/html")
    parser.add_argument("--demand", action="store_true", help="fail when a floor has less than it must have")
    parser.add_argument("--forget", action="store_true", help="remove the counts of earlier runs")
    args = parser.parse_args()

    os.chdir(pathlib.Path(__file__).resolve().parent.parent)
    if args.forget:
        forget(args.build)
        return 0
    files = collect(args.build)
    if args.missing:
        show_missing(files, args.missing)
    elif args.html:
        write_pages(files, args.build / "html")
    elif args.demand:
        return demand(files)
    else:
        table(files)
    return 0


if __name__ == "__main__":
    sys.exit(main())
