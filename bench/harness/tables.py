"""docs/performance.md's tables, made of a run's JSON lines: tables.py LINES [FILE]

What stands between the two marks of the file is replaced; the rest is written by people.
"""
import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.report import cell, number, read_lines

BEGIN, END = "<!-- figures: begin (written by ./dev bench_docs) -->", "<!-- figures: end -->"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def columns(rows):
    """The backends that coil ran on."""
    found = {label.rpartition(", ")[2] for row in rows for label in row["figures"] if label.startswith("coil")
             and row["shape"] != "Growth"}
    return [b for b in ("epoll", "uring", "poll") if b in found]


def about(machine):
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (f"Measured at {machine['commit']} on {machine['cpu']}, {machine['memory_mib'] // 1024} GiB; {machine['kernel']}; "
            f"{machine['compiler']}; {versions}. Load when it began: {machine['load']:.1f}.")


def figure(f, limit):
    """A median with its range, the ratio to the limit, the system calls."""
    shares = f"requests {f['least']:,.0f} and {f['most']:,.0f}, connections {f['uneven_connections']:.2f}" if "least" in f else ""
    more = [f"{f['of_limit']:.2f}" if limit and "of_limit" in f else "", f"{cell('calls', f)} calls" if "calls" in f else "",
            f"{number(f['bytes'])} bytes, {f['mappings']:.0f} mappings" if "bytes" in f else "",
            f"{f['trip']:,.0f} there and back" if "trip" in f else "", shares]
    more = "; ".join(m for m in more if m)
    return f"{number(f['median'])} ({number(f['min'])}-{number(f['max'])}{'; ' + more if more else ''})"


def kinds_of(row):
    """coil, coil sock, coil stream ...: each a line, its backends the columns."""
    found = []
    for label in row["figures"]:
        name = label.rpartition(", ")[0]
        if label.startswith("coil") and name not in found:
            found.append(name)
    return found


def peers_of(row):
    return ", ".join(f"{label} {figure(f, None)}" for label, f in row["figures"].items() if not label.startswith("coil"))


def figures_table(rows, backends):
    lines = ["| row | participant | unit | " + " | ".join(f"on {b}" for b in backends) + " | beside it |",
             "|---" * (4 + len(backends)) + "|"]
    for row in rows:
        if row["shape"] == "Growth":
            continue
        for i, name in enumerate(kinds_of(row)):
            own = [row["figures"].get(f"{name}, {b}") for b in backends]
            cells = " | ".join(figure(f, row["limit"]) if f else "-" for f in own)
            unit = row["unit"] + (" by the clock" if row["by_the_clock"] else "")
            lines.append(f"| {row['title'] if i == 0 else ''} | {name} | {unit} | {cells} | {peers_of(row) if i == 0 else ''} |")
    return lines


def notes(rows):
    """A row's own remark; rows that an older run wrote have none."""
    return [line for row in rows if row.get("note") for line in ("", f"`{row['word']}`: {row['note']}.")]


def growth_table(rows):
    grown = [row for row in rows if row["shape"] == "Growth" and row["figures"]]
    if not grown:
        return []
    lines = ["", "Growth: ns for each, by how many there are; the exponent is that of the whole.", "",
             "| what | figures | exponent |", "|---|---|---|"]
    for row in grown:
        values = ", ".join(f"{label.removeprefix('coil, ').rpartition(', ')[0]}: {number(f['median'])}"
                           for label, f in row["figures"].items())
        power = [f["exponent"] for f in row["figures"].values() if "exponent" in f]
        lines.append(f"| {row['title'].removeprefix('growth: ')} | {values} | {power[0]:.2f} |" if power else
                     f"| {row['title'].removeprefix('growth: ')} | {values} | - |")
    return lines


def targets_table(rows):
    lines = ["", "| target of | participant | target | stretch | it is | |", "|---|---|---|---|---|---|"]
    for row in rows:
        for t in row["targets"]:
            stretch = "" if t["stretch"] is None else f"{t['stretch']:g}"
            value = "-" if t["value"] is None else number(t["value"])
            lines.append(f"| {row['word']} | {t['who']} | {t['target']} | {stretch} | {value} | {t['verdict']} |")
    return lines


def region(machine, rows):
    short = [f"{row['word']} {row['short']}" for row in rows if row.get("short")]
    missing = sorted({f"{label}: {why}" for row in rows for label, why in row["missing"].items()})
    return "\n".join([
        about(machine), "",
        "A figure is the median of the rounds (least-most; ratio to the row's limit; system calls for each).", "",
        *figures_table(rows, columns(rows)), *notes(rows), *growth_table(rows), *targets_table(rows),
        *(["", "Rows that were long, and ended after fewer rounds: " + ", ".join(short) + "."] if short else []),
        *(["", "Not in this run: " + "; ".join(missing) + "."] if missing else [])])


def replaced(text, new):
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"no marks in it: {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{new}\n\n{END}{after}"


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    path = sys.argv[2] if len(sys.argv) > 2 else os.path.join(ROOT, "docs/performance.md")
    with open(path) as f:
        text = f.read()
    with open(path, "w") as f:
        f.write(replaced(text, region(*read_lines(sys.argv[1]))))
    print(f"written: {path}")


if __name__ == "__main__":
    main()
