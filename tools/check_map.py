"""Are docs/asyncio-map.md and docs/differences.md true, and the table of diagnostics? check_map.py

Every table row of the two ends in a cell of proofs: names of tests, or programs under examples/ and bench/, in
backticks, or a sentence that begins with "none:" and says why. Each name must be that of a test that exists. Every
function of the public headers must stand in the map, every statement, program and disagreement of the sources
must have its row, and every "difference N" its number. Every kind of diagnostic in the sources must have its row in
docs/guide/when-it-hangs.md, with a test of its text and one of its silence, and its line in coil/debug.h. Prints file:line: sentence for each thing that is not so;
exit status 1 if there is one.
"""
import glob
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAP = "docs/asyncio-map.md"
DIFFERENCES = "docs/differences.md"
KINDS = "docs/guide/when-it-hangs.md"
KINDS_HEADER = "include/coil/debug.h"

# Rows that must be there, by what stands in their first cell.
ROWS = [f"S{n:03}" for n in range(1, 130)] + [f"E{n:02}" for n in range(1, 15)] + [f"D{n:02}" for n in range(1, 14)]

# A function that is told what kind a diagnostic is of, and a field that says it.
TAKES_KIND = re.compile(r"\b(\w+)\(([^()]*\bconst char \*kind\b[^()]*(?:\*message|\*fmt|\bcode)\b[^()]*)\)")
SETS_KIND = re.compile(r"[.>]kind\s*=(?!=)\s*([^,};]*)")

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


def arguments(text):
    """What stands between the parentheses of a call: the text begins behind the first one."""
    out, deep = [""], 0
    for piece in re.findall(r'"(?:\\.|[^"\\])*"|[^"]', text):
        deep += {"(": 1, "{": 1, ")": -1, "}": -1}.get(piece, 0)
        if deep < 0:
            break
        if piece == "," and deep == 0:
            out.append("")
        else:
            out[-1] += piece
    return out


def takers(text):
    """The functions that are declared there and are told a kind, each with the place of that parameter."""
    return {name: [" *kind" in p for p in parameters.split(",")].index(True)
            for name, parameters in TAKES_KIND.findall(text)}


def made_kinds():
    """File, line and words of each place in the sources that says what kind a diagnostic is of."""
    # Without comments, and without semicolons that end no statement.
    texts = {path: re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"', lambda m: m.group().replace(";", ",") if m.group()[0] == '"'
                          else "\n" * m.group().count("\n"), read(path), flags=re.S) for path in files("src/**/*.[ch]")}
    shared = takers("".join(text for path, text in texts.items() if path.endswith(".h")))
    for path, text in texts.items():
        line = lambda match: text.count("\n", 0, match.start()) + 1
        for name, place in {**shared, **takers(text)}.items():
            for call in re.finditer(rf"\b{name}\(", text):
                yield path, line(call), (arguments(text[call.end():]) + [""] * place)[place]
        for field in SETS_KIND.finditer(text):
            statement = text[text.rfind(";", 0, field.start()) + 1:field.start()]
            if re.search(r"exception_context|log_record", statement):
                yield path, line(field), field.group(1)


def check_kinds(proofs):
    table = {cells[0].strip("`"): (n, cells) for n, cells in rows(KINDS) if len(cells) == 5}
    [listed] = re.findall(r"/\* The kinds:\n(.*?)\*/", read(KINDS_HEADER), re.S)
    listed = re.findall(r"^ \*     ([a-z-]+) ", listed, re.M)
    made = set()
    for path, n, words in made_kinds():
        kinds = re.findall(r'"([^"]*)"', words)
        made.update(kinds)
        if not kinds and not re.search(r"\bkind\b", words):
            yield f"{path}:{n}: what kind this diagnostic is of is not said by a word in quotes"
        for kind in kinds:
            if kind not in table:
                yield f"{path}:{n}: the kind {kind} has no row in {KINDS}"
            if kind not in listed:
                yield f"{path}:{n}: the kind {kind} is not in the list of {KINDS_HEADER}"
    for kind in listed:
        if kind not in made:
            yield f"{KINDS_HEADER}:1: nothing in the sources is of the kind {kind}"
    for kind, (n, cells) in table.items():
        if kind not in made:
            yield f"{KINDS}:{n}: nothing in the sources is of the kind {kind}"
        for cell in cells[3:]:
            named = re.findall(r"`([^`]+)`", cell)
            if not named:
                yield f"{KINDS}:{n}: the kind {kind} lacks a test of its text, or one of its silence"
            for name in named:
                if name not in proofs:
                    yield f"{KINDS}:{n}: there is no test called {name}"


def main():
    proofs = known_proofs()
    findings = [*check_proofs(MAP, proofs), *check_proofs(DIFFERENCES, proofs), *check_completeness(),
                *check_kinds(proofs)]
    print("\n".join(findings) if findings else f"{MAP}: every row is proved, every function stands in it; "
                                                "every diagnostic has its tests")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
