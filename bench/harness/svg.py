"""A plot of a row: bars from the cheapest to the dearest, with a whisker from minimum to maximum; a line for growth."""
import math
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP, STEP = 760, 210, 110, 52, 26
OURS, THEIRS, LIMIT, INK = "#2b6cb0", "#a0aec0", "#718096", "#1a202c"


def short(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def frame(height, title, note, body):
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="20" font-size="15">{escape(title)}</text>',
        f'<text x="12" y="38" fill="{LIMIT}">{escape(note)}</text>', *body, "</svg>", ""])


def bars(row):
    figures = sorted(row["figures"].items(), key=lambda item: item[1]["median"])
    most = max((f["max"] for _, f in figures), default=0) or 1
    scale = (WIDTH - LEFT - RIGHT) / most
    body = []
    for i, (label, f) in enumerate(figures):
        y = TOP + i * STEP
        colour = OURS if label.startswith("coil") else LIMIT if label == row["limit"] else THEIRS
        low, high = LEFT + f["min"] * scale, LEFT + f["max"] * scale
        body += [
            f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LEFT}" y="{y + 2}" width="{max(1, f["median"] * scale):.1f}" height="{STEP - 8}" fill="{colour}"/>',
            f'<path d="M{low:.1f} {y + 11}H{high:.1f}M{low:.1f} {y + 7}v8M{high:.1f} {y + 7}v8" stroke="{INK}" fill="none"/>',
            f'<text x="{high + 6:.1f}" y="{y + 15}">{short(f["median"])} {row["unit"]}</text>']
    basis = "by the clock" if row["by_the_clock"] else "CPU time"
    note = f"{basis} for each operation; bar: median, whisker: minimum to maximum"
    return frame(TOP + len(figures) * STEP + 16, row["title"], note, body)


def line(row):
    """Both axes logarithmic: the number of things, the cost of one."""
    points = [(int(label.split(", ")[1].replace(",", "")), f["median"]) for label, f in row["figures"].items()]
    height, bottom = 320, 280
    if not points:
        return frame(height, row["title"], "nothing was measured", [])
    xs = [math.log10(x) for x, _ in points]
    ys = [math.log10(max(y, 1e-3)) for _, y in points]
    low, high = math.floor(min(ys)), max(math.floor(min(ys)) + 1, math.ceil(max(ys)))
    at_x = lambda x: LEFT / 3 + (x - xs[0]) / ((xs[-1] - xs[0]) or 1) * (WIDTH - LEFT)
    at_y = lambda y: bottom - (y - low) / (high - low) * (bottom - TOP - 10)
    body = [f'<path d="M{LEFT / 3:.1f} {at_y(p):.1f}H{WIDTH - RIGHT}" stroke="#e2e8f0"/>'
            f'<text x="{LEFT / 3 - 6:.1f}" y="{at_y(p) + 4:.1f}" text-anchor="end">{10 ** p:g}</text>' for p in range(low, high + 1)]
    body.append('<path d="M' + "L".join(f"{at_x(x):.1f} {at_y(y):.1f}" for x, y in zip(xs, ys)) +
                f'" stroke="{OURS}" stroke-width="2" fill="none"/>')
    for (n, value), x, y in zip(points, xs, ys):
        body.append(f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="4" fill="{OURS}"/>'
                    f'<text x="{at_x(x):.1f}" y="{at_y(y) - 9:.1f}" text-anchor="middle">{short(value)}</text>'
                    f'<text x="{at_x(x):.1f}" y="{bottom + 20}" text-anchor="middle">{n:,}</text>')
    found = [f["exponent"] for f in row["figures"].values() if "exponent" in f]
    grows = f"; the whole grows as n to the power of {found[0]:.2f}" if found else ""
    return frame(height, row["title"], f"{row['unit']} of CPU time for each, by the number of things{grows}", body)


def plot(row):
    return line(row) if row["shape"] == "Growth" else bars(row)
