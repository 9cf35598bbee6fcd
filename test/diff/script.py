"""Scripts of the differential runner, as oracle.py and the shrinker handle them: script.h tells the language.

Nothing is checked here but what the parsing needs: the player in C has read the script before.
"""

BLOCKS = {"timeout", "group", "with", "try", "repeat", "wait_for_call"}


class Statement:
    """Its words, its mark, its blocks."""

    __slots__ = ("words", "ends_block", "inner", "other", "called")

    def __init__(self, words, ends_block=False, called=None):
        self.words = words
        self.ends_block = ends_block
        self.called = called  # the statement of a callback
        self.inner = []
        self.other = []

    @property
    def op(self):
        return self.words[0]

    def text(self):
        return " ".join(self.words + ([":"] + self.called.words if self.called else []))

    def copy(self):
        other = Statement(list(self.words), self.ends_block, self.called and self.called.copy())
        other.inner = [s.copy() for s in self.inner]
        other.other = [s.copy() for s in self.other]
        return other


def parse_statement(words):
    mark = words[-1] != ":" and words[-1] in ("!", "{", "!{")
    ends_block = mark and words[-1][0] == "!"
    if mark:
        words = words[:-1]
    called = None
    if ":" in words:
        colon = words.index(":")
        called = Statement(words[colon + 1:])
        words = words[:colon]
    return Statement(words, ends_block, called)


class Script:
    def __init__(self, seed=0, level=13, settings=None, bodies=None):
        self.seed = seed
        self.level = level
        self.settings = settings or {}  # in order: {"S0": "2", ..., "Q0": "fifo:1", "start": "2"}
        self.bodies = bodies or []

    @classmethod
    def parse(cls, text):
        script = cls()
        stack = []
        for line in text.splitlines():
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if words[0] == "script":
                script.seed, script.level = int(words[1]), int(words[3])
            elif words[0] == "with" and "=" in words[1]:
                script.settings = dict(word.split("=") for word in words[1:])
            elif words[0] == "task":
                script.bodies.append([])
                stack = [(script.bodies[-1], None)]
            elif words[0] == "}":
                owner = stack.pop()[1]
                if len(words) > 1:
                    stack.append((owner.other, owner))
            else:
                statement = parse_statement(words)
                stack[-1][0].append(statement)
                if statement.op in BLOCKS:
                    stack.append((statement.inner, statement))
        return script

    def copy(self):
        return Script(self.seed, self.level, dict(self.settings),
                      [[s.copy() for s in body] for body in self.bodies])

    def __str__(self):
        lines = [f"script {self.seed} level {self.level}",
                 "with " + " ".join(f"{name}={value}" for name, value in self.settings.items())]

        def block(statements, depth):
            margin = "    " * depth
            for s in statements:
                mark = " !" if s.ends_block else ""
                if s.op not in BLOCKS:
                    lines.append(margin + s.text() + mark)
                    continue
                lines.append(margin + s.text() + (mark or " ") + "{")
                block(s.inner, depth + 1)
                if s.op == "try":
                    lines.append(margin + "} finally {")
                    block(s.other, depth + 1)
                lines.append(margin + "}")

        for n, body in enumerate(self.bodies):
            lines.append(f"task {n}")
            block(body, 1)
        return "\n".join(lines) + "\n"
