"""test_gdb.py: what tools/gdb/ knows of the tables, waits and errors is what the headers say."""

import ast
import re
import unittest
from pathlib import Path

TOP = Path(__file__).parents[2]


def known(name):
    """What coil_seen.py calls so; it cannot be imported outside of gdb."""
    for node in ast.parse((TOP / "tools/gdb/coil_seen.py").read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            split = isinstance(node.value, ast.Call)
            return ast.literal_eval(node.value.func.value).split() if split else ast.literal_eval(node.value)
    raise AssertionError(f"coil_seen.py has no {name}")


def without_comments(path):
    return re.sub(r"/\*.*?\*/", "", (TOP / path).read_text(), flags=re.S)


def declared(struct):
    """[(type, field)] of a table of sight.h, in order; those of a group within it are called group_field."""
    body = re.search(rf"^struct {struct} \{{$(.*?)^\}};$", without_comments("src/loop/sight.h"), re.S | re.M).group(1)
    fields, group = [], []
    for statement in re.findall(r"struct \{|\} \w+;|[^;{}]+;", body):
        if statement == "struct {":
            fields, group = [], fields  # the group's own, until its name is known
        elif statement[0] == "}":
            name = statement[2:-1]
            fields = group + [(kind, f"{name}_{field}") for kind, field in fields]
        else:
            text = " ".join(statement.split())
            kind, names = re.fullmatch(r"((?:const )?(?:struct )?\w+) (.*);", text).groups()
            for field in names.split(", "):
                code = "P" if field.startswith("*") else {"uint32_t": "I", "int32_t": "i", "char": "16s"}[kind]
                fields.append((code, field.lstrip("*").split("[")[0]))
    return fields


def flat(table):
    return [(row[0], field) for row in table for field in row[1:]]


class Tables(unittest.TestCase):
    def test_tables_have_the_fields_of_sight_h(self):
        self.assertEqual(flat(known("TASKS")), declared("sight_tasks"))
        # Of a loop: there is one group, and its name is left out.
        self.assertEqual(flat(known("SIGHT")), [(kind, re.sub("^loop_", "", field)) for kind, field in declared("sight")])

    def test_form_is_that_of_sight_h(self):
        header = (TOP / "src/loop/sight.h").read_text()
        self.assertEqual(known("VERSION"), int(re.search(r"SIGHT_VERSION = (\d+)", header).group(1)))
        magic = ast.literal_eval("b" + re.search(r'#define SIGHT_MAGIC (".*")', header).group(1))
        self.assertEqual(known("MAGIC"), magic.ljust(16, b"\0"))

    def test_what_waits_show_is_known(self):
        enum = re.search(r"enum wait_shows \{(.*?)\}", without_comments("src/loop/sight.h"), re.S).group(1)
        self.assertEqual(known("SHOWS"), [word.lower() for word in re.findall(r"SHOWS_(\w+)", enum)])

    def test_codes_have_their_names(self):
        codes = re.findall(r"^    COIL_(\w+) =\s+(-2\d+)", without_comments("include/coil/error.h"), re.M)
        self.assertEqual({name: -2001 - i for i, name in enumerate(known("CODES"))},
                         {name: int(number) for name, number in codes})


if __name__ == "__main__":
    unittest.main()
