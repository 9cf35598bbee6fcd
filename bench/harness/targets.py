"""What a figure is held against: the project's targets, as a value in one run, or as a ratio of two.

A target speaks of every participant whose label begins with `subject`, so of each backend; `of` is the label of a peer,
or of another of coil's, in which case the one of the same backend is meant.
"""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Target:
    kind: str  # most: value <= bound; times: peer / value >= bound; over: value - peer <= bound
    bound: float
    stretch: float | None
    of: str | None  # None: the figure itself
    metric: str
    subject: str


def at_most(bound, stretch=None, of=None, metric="median", subject="coil"):
    return Target("most", bound, stretch, of, metric, subject)


def times(bound, of, stretch=None, metric="median", subject="coil"):
    return Target("times", bound, stretch, of, metric, subject)


def over(bound, of, subject="coil"):
    return Target("over", bound, None, of, "median", subject)


def ahead(*of, subject="coil"):
    return [at_most(1.0, of=peer, subject=subject) for peer in of]


def backend_of(label):
    return label.rpartition(", ")[2]


def named(label, name):
    """Is this label's participant called that, on whatever backend?"""
    return label == name or label.rpartition(", ")[0] == name


def partner(target, label, figures):
    """The label that `target.of` means beside this one; None where it took no part."""
    of = target.of
    if of in figures:
        return of
    same = f"{of}, {backend_of(label)}"
    return same if same in figures else None


def words(target, unit):
    figure = {"median": "", "calls": " system calls", "bytes": " bytes", "mappings": " mappings", "wall": " by the clock",
              "uneven": " between the requests of two workers"}
    own = figure[target.metric]
    if target.kind == "times":
        return f"at least {target.bound:g} times as cheap as {target.of}" + own
    if target.kind == "over":
        return f"at most {target.bound:g} {unit} over {target.of}"
    if target.of:
        return f"at most {target.bound:g} of {target.of}" + own
    return f"at most {target.bound:g} {unit if target.metric == 'median' else ''}{own}".replace("  ", " ")


def value_of(target, ours, theirs):
    if target.kind == "times":
        return theirs / ours if ours else float("inf")
    if target.kind == "over":
        return ours - theirs
    return ours if theirs is None else ours / theirs


def verdict(target, value):
    holds = (lambda bound: value >= bound) if target.kind == "times" else (lambda bound: value <= bound)
    if not holds(target.bound):
        return "missed"
    return "stretch" if target.stretch is not None and holds(target.stretch) else "met"


def judge(targets, figures, unit):
    """Each target for each participant that it speaks of: a list of dictionaries, ready to be written down."""
    found = []
    for target in targets:
        if not any(named(label, target.subject) for label in figures):
            found.append({"who": target.subject, "target": words(target, unit), "stretch": target.stretch, "value": None,
                          "verdict": f"{target.subject} took no part"})
        for label, figure in figures.items():
            if not (named(label, target.subject) and target.metric in figure):
                continue
            what = {"who": label, "target": words(target, unit), "stretch": target.stretch}
            other = partner(target, label, figures) if target.of else None
            if target.of and (other is None or target.metric not in figures[other]):
                found.append({**what, "value": None, "verdict": f"{target.of} took no part"})
                continue
            value = value_of(target, figure[target.metric], figures[other][target.metric] if other else None)
            found.append({**what, "value": round(value, 3), "verdict": verdict(target, value)})
    return found
