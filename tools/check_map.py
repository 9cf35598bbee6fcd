"""Are docs/asyncio-map.md and docs/differences.md true? check_map.py

Every table row of the two ends in a cell of proofs: names of tests, or programs under examples/ and bench/, in
backticks, or a sentence that begins with "none:" and says why. Each name must be that of a test that exists. Every
function of the public headers must stand in the map, every statement, program and disagreement of the sources
must have its row, and every "difference N" its number. Prints file:line: sentence for each thing that is not so;
exit status 1 if there is one.
"""
import glob
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAP = "docs/asyncio-map.md"
DIFFERENCES = "docs/differences.md"

# Rows that must be there, by what stands in their first cell.
ROWS = [f"S{n:03}" for n in range(1, 130)] + [f"E{n:02}" for n in range(1, 15)] + [f"D{n:02}" for n in range(1, 14)]

# TEST(name) at the beginning of a line, and cmocka's own form.
A_TEST = re.compile(r"^[A-Z][A-Z0-9_]*\(([a-z]\w+)[^;\n]*$|^(?:static )?void ([a-z]\w+)\(void \*\*", re.M)


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return f.read()


def files(pattern):
    return sorted(glob.glob(pattern, root_dir=TOP, recursive=True))


def known_proofs():
    names = set()
    for path in files("test/**/*.[ch]"):
        names.update(a or b for a, b in A_TEST.findall(read(path)))
    for path in files("test/**/*.py"):
        names.update(re.findall(r"def (test_\w+)", read(path)))
    for path in files("examples/**/*.c"):
        # A program whose output is compared, or one that a script drives.
        names.add(path[:-2] if os.path.exists(os.path.join(TOP, path[:-2] + ".expected")) else path)
    names.update(files("bench/*") + files("test/**/*.sh") + files("test/**/*.py"))
    return names


def public_functions():
    names = set()
    for path in files("include/coil/*.h"):
        text = re.sub(r"/\*.*?\*/", "", read(path), flags=re.S)
        for declaration in re.findall(r"COIL_(?:API|ASYNC)\b([^;{]*?)[;{]", text):
            match = re.search(r"\b(coil_\w+)\s*\(", declaration)
            if match:
                names.add((match.group(1), path))
    return names


def rows(page):
    """The line number and the cells of each row of a table, without the heads."""
    lines = read(page).splitlines()
    for n, line in enumerate(lines, 1):
        rule = lambda other: other.startswith("|") and set(other) <= set("|-: ")
        if line.startswith("|") and not rule(line) and not (n < len(lines) and rule(lines[n])):
            yield n, [c.strip() for c in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def check_proofs(page, proofs):
    for n, cells in rows(page):
        last = cells[-1]
        named = re.findall(r"`([^`]+)`", last)
        if last.startswith("none:"):
            if len(last) < len("none: x"):
                yield f"{page}:{n}: the row says none, and not why"
            continue
        if not named:
            yield f"{page}:{n}: the row has no proof and does not say why (none: ...)"
        for name in named:
            if name not in proofs:
                yield f"{page}:{n}: there is no test or program called {name}"


def check_completeness():
    page = read(MAP)
    for name, path in sorted(public_functions()):
        bare = re.sub(r"_at$", "", name)
        if not re.search(rf"\b({name}|{bare})\b", page):
            yield f"{MAP}:1: {name} of {path} does not stand in the page"
    ids = [cells[0] for _, cells in rows(MAP)]
    for row in ROWS:
        if ids.count(row) != 1:
            yield f"{MAP}:1: {row} has {ids.count(row)} rows"
    numbers = [cells[0] for _, cells in rows(DIFFERENCES)]
    if numbers != sorted(set(numbers), key=int) or numbers[:1] != ["1"]:
        yield f"{DIFFERENCES}:1: the numbers do not run from 1 upwards"
    for n, line in enumerate(page.splitlines(), 1):
        for number in re.findall(r"\(difference (\d+)\)", line):
            if number not in numbers:
                yield f"{MAP}:{n}: there is no difference {number}"


def main():
    proofs = known_proofs()
    findings = [*check_proofs(MAP, proofs), *check_proofs(DIFFERENCES, proofs), *check_completeness()]
    print("\n".join(findings) if findings else f"{MAP}: every row is proved, every function stands in it")
    sys.exit(1 if findings else 0)


main()
