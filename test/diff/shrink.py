"""Makes a script that differs as small as it can be.

Again and again it tries what would make the script smaller, from the coarse to the fine, and keeps what still
differs, until nothing can be left out any more.
"""

from script import BLOCKS


def blocks_of(script):
    """Every list of statements, outer ones first."""
    found = list(script.bodies)
    for block in found:
        for s in block:
            if s.op in BLOCKS:
                found.append(s.inner)
                if s.op == "try":
                    found.append(s.other)
    return found


def statements_of(script):
    return [s for block in blocks_of(script) for s in block]


def without_bodies(script):
    """The last body gone; a body empty; fewer started."""
    if len(script.bodies) > 1:
        smaller = script.copy()
        smaller.bodies.pop()
        smaller.settings["start"] = str(min(int(smaller.settings["start"]), len(smaller.bodies)))
        yield smaller
    for n, body in enumerate(script.bodies):
        if body:
            smaller = script.copy()
            smaller.bodies[n] = []
            yield smaller
    if int(script.settings["start"]) > 1:
        smaller = script.copy()
        smaller.settings["start"] = str(int(smaller.settings["start"]) - 1)
        yield smaller


def without_statements(script):
    """Runs of statements gone, long ones first; a block in place of the statement that has it."""
    for b, block in enumerate(blocks_of(script)):
        length = len(block)
        while length:
            for at in range(0, len(block) - length + 1):
                smaller = script.copy()
                del blocks_of(smaller)[b][at:at + length]
                yield smaller
            length //= 2
    for b, block in enumerate(blocks_of(script)):
        for at, s in enumerate(block):
            if s.op in BLOCKS:
                smaller = script.copy()
                inside = blocks_of(smaller)[b]
                inside[at:at + 1] = inside[at].inner + inside[at].other
                yield smaller


def with_less(script):
    """A mark gone, an argument less, a smaller number, a simpler setting."""
    for i, s in enumerate(statements_of(script)):
        if s.ends_block:
            smaller = script.copy()
            statements_of(smaller)[i].ends_block = False
            yield smaller
        if s.op.startswith(("gather", "wait", "as_completed")) and len(s.words) > 2:
            for at in range(1, len(s.words)):
                if s.words[at][0] in "tfa" and sum(w[0] in "tfa" for w in s.words[1:]) > 1 and (
                        at > 1 or not s.op.startswith("gather_future")):
                    smaller = script.copy()
                    del statements_of(smaller)[i].words[at]
                    yield smaller
        for at, word in enumerate(s.words[1:], 1):
            if word.lstrip("-").isdigit() and word not in ("0", "1"):
                smaller = script.copy()
                statements_of(smaller)[i].words[at] = "1" if int(word) > 1 else "0"
                yield smaller
        if s.called and s.called.op != "look":
            smaller = script.copy()
            statements_of(smaller)[i].called.words = ["look"]
            yield smaller
    for name, plain in {"S0": "1", "S1": "1", "B0": "1", "Q0": "fifo:0", "Q1": "fifo:0"}.items():
        if script.settings[name] != plain:
            smaller = script.copy()
            smaller.settings[name] = plain
            yield smaller


def shrink(script, differs):
    """The smallest found; `differs` tells whether a script still does so."""
    again = True
    while again:
        again = False
        for ways in (without_bodies, without_statements, with_less):
            found = True
            while found:
                found = False
                for smaller in ways(script):
                    if differs(smaller):
                        script = smaller
                        found = again = True
                        break
    return script
