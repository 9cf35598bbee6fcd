#!/usr/bin/env python3
"""tools/sim.py on swarms that are played by a script: what fails, crashes or hangs is named, the others go on, and it is made small."""
import contextlib
import io
import os
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import sim  # noqa: E402

# A swarm in which seed 3 fails with two clients or more, a fault of the third kind and 5 s; 5 crashes, 7 hangs, if told to.
SWARM = """#!/usr/bin/env python3
import json, os, signal, sys, time
first, *rest = sys.argv[1:]
first = int(first)
count = int(rest[0]) if rest and rest[0].isdigit() else 1
options = dict(word.split("=") for word in rest if "=" in word)
for seed in range(first, first + count):
    print("seed", seed, flush=True)
    if seed == 3 and int(options.get("clients", 9)) >= 2 and int(options.get("faults", 1023)) & 4 \\
            and float(options.get("seconds", 1e9)) >= 5 and "b" in options.get("plays", "a,b"):
        print("FAILED 3 item 17 is lost", flush=True)
    if seed == 5 and BAD:
        os.kill(os.getpid(), signal.SIGSEGV)
    if seed == 7 and BAD:
        time.sleep(600)
    if "trace" in rest:
        print("trace", seed, "%016x" % (seed * SALT), flush=True)
print("sum " + json.dumps({"runs": count, "simulated": 10, "traffic": 100, "idle": 0, "plays": {"a": [1, 0, 0, 0], "b": [1, 0, 0, 0]},
                           "probes": {"reached": 2}}))
"""


class SimTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.limits = sim.SEED_LIMIT
        self.addCleanup(lambda: setattr(sim, "SEED_LIMIT", self.limits))

    def swarm(self, name="swarm", bad=False, salt=1):
        path = pathlib.Path(self.folder.name) / name
        path.write_text(SWARM.replace("BAD", str(bad)).replace("SALT", str(salt)))
        os.chmod(path, 0o755)
        return str(path)

    def call(self, *words):
        """Exit status and what was printed."""
        said = io.StringIO()
        old = sys.argv
        sys.argv = ["sim.py", *words]
        try:
            with contextlib.redirect_stdout(said), self.assertRaises(SystemExit) as end:
                sim.main()
        finally:
            sys.argv = old
        return end.exception.code, said.getvalue()

    def test_a_failing_seed_is_named_and_made_small(self):
        status, said = self.call(self.swarm(), "run", "--count", "10", "--jobs", "1")
        self.assertEqual(status, 1)
        self.assertIn("FAILED seed 3: item 17 is lost", said)
        self.assertIn("10 runs", said)
        small = [line for line in said.splitlines() if "--replay 3 plays=b" in line]
        self.assertEqual(len(small), 1, said)
        self.assertIn("faults=4", small[0])
        self.assertIn("clients=2", small[0])
        self.assertIn("seconds=5.12", small[0])

    def test_a_crash_and_a_hang_are_named_and_the_others_go_on(self):
        sim.SEED_LIMIT = 5
        found = sim.Swarm(self.arguments(self.swarm(bad=True), count=10))
        with contextlib.redirect_stdout(io.StringIO()):
            found.run()
        self.assertEqual(sorted((f.seed, f.what) for f in found.failures),
                         [(3, "item 17 is lost"), (5, "crashes: SIGSEGV"), (7, "does not end within 5 s")])
        self.assertEqual(found.next_seed, 11)
        self.assertEqual(found.again, [])

    def arguments(self, swarm, count):
        class Arguments:
            options, seed, jobs, seconds, hours = [], 1, 1, 0, 0
        Arguments.swarm, Arguments.count = swarm, count
        return Arguments

    def test_a_mark_that_was_never_reached_fails_the_long_run_only(self):
        source = pathlib.Path(self.folder.name) / "src"
        source.mkdir()
        (source / "a.c").write_text('COIL_PROBE("reached");\nCOIL_PROBE("not reached by anybody");\n')
        words = ["run", "--count", "2", "--seed", "20", "--jobs", "1", "--probes", str(source)]
        status, said = self.call(self.swarm(), *words)
        self.assertEqual(status, 1)
        self.assertIn("FAILED: never reached: not reached by anybody", said)
        self.assertNotIn("never reached: reached", said)
        self.assertEqual(self.call(self.swarm(), *words, "--quick")[0], 0)

    def test_two_programs_must_tell_the_same_stories(self):
        one, other = self.swarm(), self.swarm("other", salt=2)
        self.assertEqual(self.call(one, "same", one, "20", "5")[0], 0)
        status, said = self.call(one, "same", other, "20", "5")
        self.assertEqual(status, 1)
        self.assertIn("seeds 20 21 22 23 24", said)


if __name__ == "__main__":
    unittest.main()
