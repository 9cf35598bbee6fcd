"""test_runtests.py: tools/runtests.py counts what programs do, and misses no failure."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import runtests  # noqa: E402


def run(script, timeout=20, backend=None, env=None, own_timeout=30):
    """The job that ran this shell script as a test program."""
    job = runtests.Job({"name": "t", "cmd": ["sh", "-c", script], "env": env or {}, "workdir": None,
                        "timeout": own_timeout},
                       backend)
    job.run([], timeout)
    return job


class Counting(unittest.TestCase):
    def counts(self, job, passed, failed, skipped=0):
        self.assertEqual((job.passed, len(job.failures), len(job.skips)), (passed, failed, skipped),
                         job.failures)

    def test_plain_program_counts_once(self):
        self.counts(run("echo fine"), 1, 0)
        self.counts(run("exit 3"), 0, 1)

    def test_tap_lines_count_each(self):
        self.counts(run("printf '1..2\\nok 1 - a\\nok 2 - b\\n'"), 2, 0)
        self.counts(run("printf '1..2\\nok 1 - a\\nnot ok 2 - b\\n'; exit 1"), 1, 1)

    def test_not_ok_fails_even_with_status_0(self):
        self.counts(run("echo 'not ok 1 - a'"), 0, 1)

    def test_a_time_by_the_clock_may_be_late_and_never_early(self):
        for printed, fine in [("2.00", True), ("2.01", True), ("2.05", True), ("2.06", False), ("1.99", False), ("2.0", False)]:
            self.assertEqual(runtests.on_time("a 1.00\ntotal: 2.00 sec\n", f"a 1.00\ntotal: {printed} sec\n")
                             == "a 1.00\ntotal: 2.00 sec\n", fine, printed)
        self.assertEqual(runtests.on_time("no time", "took 3.00"), "took 3.00")

    def test_death_between_cases_is_a_failure(self):
        job = run("printf '1..2\\nok 1 - a\\n'; kill -SEGV $$")
        self.counts(job, 1, 1)
        self.assertIn("SIGSEGV", job.failures[0])

    def test_cases_that_never_reported_are_a_failure(self):
        self.counts(run("printf '1..3\\nok 1 - a\\n'"), 1, 1)

    def test_leak_reported_after_all_cases_passed_is_a_failure(self):
        self.counts(run("printf '1..1\\nok 1 - a\\n'; exit 23"), 1, 1)

    def test_skips_say_why(self):
        job = run("echo 'no io_uring here'; exit 77")
        self.counts(job, 0, 0, 1)
        self.assertEqual(job.skips, ["no io_uring here"])
        job = run("printf '1..2\\n# no moon\\nnot ok 1 # SKIP a\\nok 2 - b\\n'")
        self.counts(job, 1, 0, 1)
        self.assertEqual(job.skips, ["a: no moon"])

    def test_late_program_and_its_children_are_killed(self):
        self.counts(run("sleep 100 & sleep 100", timeout=0.3), 0, 1)

    def test_a_program_may_ask_for_more_time(self):
        self.counts(run("sleep 0.5", timeout=0.1, own_timeout=31), 1, 0)
        self.counts(run("sleep 0.5", timeout=0.1, own_timeout=30), 0, 1)

    def test_expected_output_is_compared(self):
        with tempfile.NamedTemporaryFile("w", suffix=".expected") as file:
            file.write("hello\n")
            file.flush()
            env = {"COIL_TEST_EXPECTED": file.name}
            self.counts(run("echo hello", env=env), 1, 0)
            self.counts(run("echo hullo", env=env), 0, 1)

    def test_backend_reaches_the_program(self):
        self.counts(run('test "$COIL_BACKEND" = poll', backend="poll"), 1, 0)
        self.counts(run('test -z "$COIL_BACKEND"'), 1, 0)


class Planning(unittest.TestCase):
    def test_suite_and_words_decide(self):
        tests = [{"name": "unit/a", "suite": ["coil:backend"]}, {"name": "unit/b", "suite": ["coil:once"]},
                 {"name": "seed/c", "suite": ["coil:kernel"]}]
        names = [job.name for job in runtests.plan(tests, [], ["poll", "sim"])]
        self.assertEqual(names, ["seed/c [poll]", "unit/a [poll]", "unit/a [sim]", "unit/b"])
        self.assertEqual([job.name for job in runtests.plan(tests, ["b"], ["sim"])], ["unit/b"])
        self.assertEqual([job.name for job in runtests.plan(tests, [], ["sim"], ["unit/", "d/c"])], [])

    def test_brief_leaves_out_backends_where_none_is_asked_only(self):
        tests = [{"name": "unit/task/a", "suite": ["coil:backend"]}, {"name": "unit/net/b", "suite": ["coil:backend"]}]
        names = [job.name for job in runtests.plan(tests, [], ["poll", "sim"], brief=True)]
        self.assertEqual(names, ["unit/net/b [poll]", "unit/net/b [sim]", "unit/task/a [poll]"])


if __name__ == "__main__":
    unittest.main()
