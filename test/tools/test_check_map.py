"""test_check_map.py: every way in which a diagnostic can lack its row, its line or its tests is found."""

import shutil
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import check_map  # noqa: E402

SOURCES = {
    "src/loop/report.h": "void coil__loop_report(struct coil_loop *loop, const char *kind, const char *message, coil_ret code);\n",
    "src/net/lost.c": """\
/* As coil__loop_report(loop, "in-a-comment", ...) does it. */
static void complain(const char *kind, const char *fmt, ...)
{
    coil__log_line(kind, fmt);
}

static void lose(struct thing *t)
{
    coil__loop_report(t->of(t, 0), "thing-lost",
                      "lost; gone (for good), or so", t->code);
    complain("thing-odd", "odd %d", 1);
    coil_exception_context context = {.message = "a; b", .kind = "thing-broken"};
    static const struct executor_class other = {.kind = "threads"};
}
""",
}
KINDS = "thing-broken", "thing-lost", "thing-odd"


class Kinds(unittest.TestCase):
    """A tree of its own for each test, in which all is well at first."""

    def setUp(self):
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        self.addCleanup(setattr, check_map, "TOP", check_map.TOP)
        check_map.TOP = str(self.root)
        self.texts = {
            **SOURCES,
            "include/coil/debug.h": "/* The kinds:\n *\n" + "".join(f" *     {kind}   a thing\n" for kind in KINDS) + " */\n",
            "docs/guide/when-it-hangs.md": "| kind | level | when | says | silence |\n|---|---|---|---|---|\n" +
            "".join(f"| `{kind}` | WARNING | then | `says_it` | `says_nothing` |\n" for kind in KINDS),
        }

    def found(self, path=None, old="", new=""):
        if path:
            self.assertEqual(self.texts[path].count(old), 1)
            self.texts[path] = self.texts[path].replace(old, new)
        for name, text in self.texts.items():
            target = self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return list(check_map.check_kinds({"says_it", "says_nothing"}))

    def test_kinds_with_rows_lines_and_tests_pass(self):
        self.assertEqual(self.found(), [])

    def test_kind_without_a_row_is_found_however_it_is_made(self):
        for line, kind in enumerate(("thing-lost", "thing-odd", "thing-broken"), 9):
            self.setUp()
            row = f"| `{kind}` | WARNING | then | `says_it` | `says_nothing` |\n"
            [finding] = self.found("docs/guide/when-it-hangs.md", row)
            self.assertEqual(finding.split(":", 2)[0], "src/net/lost.c")
            self.assertGreaterEqual(int(finding.split(":")[1]), line)
            self.assertIn(f"the kind {kind} has no row", finding)

    def test_kind_that_is_not_listed_in_the_header_is_found(self):
        [finding] = self.found("include/coil/debug.h", " *     thing-odd   a thing\n")
        self.assertIn("the kind thing-odd is not in the list", finding)

    def test_kind_that_nothing_is_of_is_found_in_both_places(self):
        findings = self.found("src/net/lost.c", 'complain("thing-odd"', 'complain("thing-lost"')
        self.assertEqual([("nothing in the sources is of the kind thing-odd" in f) for f in findings], [True, True])

    def test_kind_that_is_no_word_in_quotes_is_found(self):
        self.assertIn("is not said by a word in quotes", self.found("src/net/lost.c", '"thing-broken"', "BROKEN")[0])

    def test_row_without_a_test_is_found(self):
        [finding] = self.found("docs/guide/when-it-hangs.md", "`thing-odd` | WARNING | then | `says_it` | `says_nothing`",
                               "`thing-odd` | WARNING | then | `says_it` | none")
        self.assertIn("the kind thing-odd lacks a test", finding)

    def test_test_that_is_not_there_is_found(self):
        [finding] = self.found("docs/guide/when-it-hangs.md", "`thing-odd` | WARNING | then | `says_it`",
                               "`thing-odd` | WARNING | then | `said_it`")
        self.assertIn("there is no test called said_it", finding)


if __name__ == "__main__":
    unittest.main()
