"""test_sweep.py: tools/sweep.py on a suite of two programs: what each is told, what is remembered, when it fails."""

import contextlib
import io
import os
import re
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

TOOLS = Path(__file__).parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
import fault  # noqa: E402
import fault_seen  # noqa: E402
import sweep  # noqa: E402

# A program of COIL_TEST: its name says what it comes by, and all that nobody has failed fails in it.
PROGRAM = """#!{python}
import os, sys
sites, pairs, waits = {things!r}
kind = os.environ["COIL_FAULT"]
swept = open(os.environ["COIL_FAULT_SWEPT"]).read().splitlines() if "COIL_FAULT_SWEPT" in os.environ else []
open({log!r}, "a").write(f"{name} {{kind}} {{sorted(swept)}}\\n")
lines, cases = ["anchor 1000"], 0
def say(mine, words, swept_words, reached="reached"):
    global cases
    fresh = mine and swept_words not in swept
    cases += bool(fresh)
    lines.append(words + ("failed" if fresh else reached))
if kind.startswith("alloc"):
    for s in sites: say(True, f"site {{0x1000 + s:x}} ", f"site {{s:x}}")
for call, error in (("read", "EIO"), ("write", "EIO")):
    lines.append(f"call {{call}} " + ("reached" if kind == "errno" and call in pairs else "unseen"))
    say(kind == "errno" and call in pairs, f"pair {{call}} {{error}} ", f"pair {{call}} {{error}}", "unseen")
for wait in waits if kind in ("cancel", "timeout") else []:
    if f"wait {{wait}}" in swept: lines.append(f"wait reached {{wait}}")
    else:
        cases += 1
        lines.append(f"wait failed {{wait}}")
open(os.environ["COIL_FAULT_SEEN"], "w").write("\\n".join(lines) + "\\n")
print(f"# fault {{kind}}: a_test: 9 points, {{cases}} cases, 0 met an assertion, 0 waited for ever, 0 found")
if {broken!r} == kind:
    print("ERROR: {broken}:3: Segmentation fault")
    sys.exit(1)
"""
PLACES = {16: "a.c:1", 32: "b.c:2"}
ALL = ((16, 32), ("read", "write"), ("sleep", "lock"))


class Sweeps(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.log, self.order = Path(self.folder.name) / "log", Path(self.folder.name) / "order.txt"

    def program(self, name, things, broken=""):
        path = Path(self.folder.name) / name.replace("/", "_")
        path.write_text(PROGRAM.format(python=sys.executable, name=name, things=things, broken=broken, log=str(self.log)))
        path.chmod(0o755)
        return {"name": name, "cmd": [str(path)], "env": {}, "workdir": None, "suite": ["coil:backend"]}

    def sweep(self, tests, *options):
        """Status, output, what the programs were told."""
        self.log.write_text("")
        sweep.digest.cache_clear()
        said = io.StringIO()
        with mock.patch.object(fault, "tests_of", lambda build, words: tests), \
                mock.patch.object(fault_seen, "sites_of", lambda library: set(PLACES.values())), \
                mock.patch.object(fault_seen, "waits_of", lambda sources: {"sleep", "lock"}), \
                mock.patch.object(fault_seen, "places_of", lambda program: PLACES), \
                mock.patch.object(sweep, "places_of", lambda program: PLACES), \
                mock.patch.object(sweep, "FIRST", self.order), \
                mock.patch.object(sweep, "anchor_of", lambda program: 0x1000), \
                mock.patch.object(sys, "argv", ["sweep.py", self.folder.name, "--jobs", "1", "--backends", "epoll", *options]), \
                contextlib.redirect_stdout(said):
            Path(self.folder.name, "libcoil.a").touch()
            status = sweep.main()
        return status, said.getvalue(), self.log.read_text().splitlines()

    def test_a_whole_sweep_says_so(self):
        status, said, _ = self.sweep([self.program("unit/all", ALL)])
        self.assertEqual(status, 0, said)
        self.assertIn("places 2 of 2, and from there on 2 of 2, pairs 2 of 2, waits cancelled 2 of 2, waits out of time 2 of 2", said)

    def test_each_is_told_what_those_before_it_have_failed(self):
        some = ((16,), ("read",), ("sleep",))
        status, _, told = self.sweep([self.program("unit/all", ALL), self.program("fault/some", some)])
        self.assertEqual(status, 0)
        self.assertIn("fault/some errno []", told)  # bodies that take every error begin
        self.assertIn("unit/all errno ['pair read EIO']", told)
        self.assertIn("unit/all alloc ['site 10']", told)
        self.assertIn("unit/all timeout ['wait sleep']", told)

    def test_what_is_missing_fails_it_by_name(self):
        status, said, _ = self.sweep([self.program("unit/some", ((16,), ("read",), ("sleep",)))])
        self.assertEqual(status, 1)
        for line in ("alloc: b.c:2", "alloc_all: b.c:2", "errno: write EIO", "cancel: lock", "timeout: lock"):
            self.assertIn(f"MISSING from {line}", said)

    def test_what_has_nothing_left_to_do_is_left_out(self):
        tests = [self.program("fault/all", ALL), self.program("unit/more", ALL)]
        status, said, told = self.sweep(tests)
        self.assertEqual((status, len(told)), (0, 5))
        self.assertIn("5 had nothing left to do", said)
        self.assertEqual(len(self.sweep(tests, "--each")[2]), 10)

    def test_those_that_brought_something_begin_the_next_time(self):
        nothing = ((), (), ())
        tests = [self.program("fault/none", nothing), self.program("unit/all", ALL)]
        self.assertEqual(len(self.sweep(tests, "--note")[2]), 10)
        self.assertEqual(self.order.read_text().splitlines(), [
            f"{kind} unit/all [epoll]" for kind in ("alloc", "alloc_all", "cancel", "errno", "timeout")])
        status, said, told = self.sweep(tests, "--again")
        self.assertEqual((status, len(told)), (0, 5))
        self.assertIn("5 had nothing left to do", said)

    def test_what_the_order_does_not_bring_is_looked_for_in_the_rest(self):
        self.order.write_text("alloc fault/none [epoll]\n")
        tests = [self.program("fault/none", ((), (), ())), self.program("unit/all", ALL)]
        self.assertEqual(self.sweep(tests)[0], 0)

    def test_without_io_uring_nobody_misses_it(self):
        with mock.patch.object(fault_seen, "OF_URING", re.compile("b.c:|write")):
            status, said, _ = self.sweep([self.program("unit/some", ((16,), ("read",), ("sleep", "lock")))])
        self.assertEqual(status, 0, said)
        self.assertIn("places 1 of 1, and from there on 1 of 1, pairs 1 of 1", said)

    def test_what_was_done_is_not_done_again(self):
        tests = [self.program("unit/all", ALL)]
        self.sweep(tests)
        status, said, told = self.sweep(tests)
        self.assertEqual((status, told), (0, []))
        self.assertIn("pairs 2 of 2", said)
        self.assertEqual(len(self.sweep(tests, "--again")[2]), 5)

    def test_another_program_of_that_name_counts_for_itself(self):
        self.sweep([self.program("unit/one", ALL)])
        status, said, told = self.sweep([self.program("unit/one", ((16,), (), ()))])
        self.assertEqual((status, len(told)), (1, 5))
        self.assertIn("MISSING from alloc: b.c:2\n", said)

    def test_what_was_found_is_not_forgotten(self):
        tests = [self.program("unit/all", ALL, broken="errno")]
        for _ in range(2):
            status, said, _ = self.sweep(tests)
            self.assertEqual(status, 1)
            self.assertIn("FOUND errno unit/all [epoll]: a_test: errno:3: Segmentation fault", said)

    def test_one_that_stops_for_want_of_time_goes_on(self):
        tests = [self.program("unit/all", ALL)]
        status, said, told = self.sweep(tests, "--minutes", "1e-9")
        self.assertEqual((status, told), (1, []))
        self.assertIn("5 still to be done", said)
        self.assertEqual(self.sweep(tests)[0], 0)


if __name__ == "__main__":
    os.environ.pop("COIL_FAULT_SWEPT", None)
    unittest.main()
