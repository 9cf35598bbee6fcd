"""What a run says: a block of text for each row while it runs, and a line of JSON for each."""
import json

from harness.targets import judge


def number(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def best_peer(figures):
    """The cheapest that is not coil's; None without peers."""
    peers = [label for label in figures if not label.startswith("coil")]
    return min(peers, key=lambda label: figures[label]["median"], default=None)


def result(row, figures, missing):
    """A row as it is written down."""
    best = best_peer({k: v for k, v in figures.items() if k != row.limit}) or best_peer(figures)
    for label, figure in figures.items():
        if best and label != best:
            figure["of_best"] = figure["median"] / figures[best]["median"]
        if row.limit in figures and label != row.limit:
            figure["of_limit"] = figure["median"] / figures[row.limit]["median"]
    return {"kind": "row", "word": row.word, "title": row.title, "unit": row.unit, "limit": row.limit, "best": best,
            "by_the_clock": getattr(row, "figure", "ns") == "wall_ns", "shape": type(row).__name__,
            "figures": {label: {k: round(v, 4) for k, v in f.items()} for label, f in figures.items()},
            "missing": missing, "note": getattr(row, "note", ""), "targets": judge(row.targets, figures, row.unit)}


COLUMNS = [("median", "median"), ("min", "min"), ("max", "max"), ("of_best", "of best"), ("of_limit", "of limit"),
           ("cpu", "CPU"), ("wall", "clock"), ("calls", "calls"), ("busy", "busy"), ("bytes", "bytes"), ("mappings", "mappings"),
           ("memory", "MiB"), ("exponent", "exponent"), ("trip", "and back"), ("least", "req least"), ("most", "req most"),
           ("uneven", "req ratio"), ("uneven_connections", "con ratio")]


def cell(key, figure):
    if key not in figure:
        return ""
    if key == "memory":
        return f"{figure[key] / (1 << 20):.0f}"
    return f"{figure[key]:.2f}" if key in ("calls", "busy", "exponent", "of_best", "of_limit", "uneven", "uneven_connections") else number(figure[key])


def text(row):
    """A row for people: everybody with all that is known of them, then the targets."""
    columns = [(key, head) for key, head in COLUMNS if any(key in f for f in row["figures"].values())
               and not (key == "cpu" and not row["by_the_clock"]) and not (key == "wall" and row["shape"] not in ("Echo", "Workers"))]
    basis = ", by the clock" if row["by_the_clock"] else ", CPU"
    lines = [f"{row['word']}: {row['title']}, {row['unit']} for each{basis}"]
    if row["best"]:
        lines[0] += f"; best peer: {row['best']}" + (f"; limit: {row['limit']}" if row["limit"] else "")
    if row["figures"]:
        lines.append(" " * 30 + "".join(f"{head:>11}" for _, head in columns))
    lines += [f"    {label:26}" + "".join(f"{cell(key, f):>11}" for key, _ in columns) for label, f in row["figures"].items()]
    lines += [f"    no {label}: {why}" if label != "all" else f"    not measured: {why}" for label, why in row["missing"].items()]
    if row.get("short"):
        lines.append(f"    ended after {row['short']} rounds, since it takes long on this machine")
    if row["note"]:
        lines.append(f"    note: {row['note']}")
    lines += [f"    {t['verdict']:8} {t['who']}: {t['target']} (it is {number(t['value'])})" for t in row["targets"]
              if t["value"] is not None]
    absent = dict.fromkeys(t["verdict"] for t in row["targets"] if t["value"] is None)
    lines += [f"    not judged: {why}" for why in absent]
    return "\n".join(lines)


def judged(rows):
    """How many targets are met, and which are missed."""
    targets = [(row, t) for row in rows for t in row["targets"]]
    met = [t for _, t in targets if t["verdict"] in ("met", "stretch")]
    missed = [f"{row['word']} ({t['who']})" for row, t in targets if t["verdict"] == "missed"]
    rest = len(targets) - len(met) - len(missed)
    return (f"{len(met)} of {len(targets)} targets met, {len(missed)} missed, {rest} without the peer they name"
            + (": missed by " + ", ".join(missed) if missed else ""))


def write_lines(path, machine, rows):
    with open(path, "w") as f:
        for line in [machine, *rows]:
            f.write(json.dumps(line) + "\n")


def read_lines(path):
    """(the machine, the rows) of a file that write_lines wrote."""
    with open(path) as f:
        lines = [json.loads(line) for line in f]
    return next(x for x in lines if x["kind"] == "machine"), [x for x in lines if x["kind"] == "row"]
