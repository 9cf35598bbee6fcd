"""test_coverage.py: tools/coverage.py counts what ran, also in children, and leaves out assertions and nothing else."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOOLS = Path(__file__).parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
import coverage  # noqa: E402

PROGRAM = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#define COIL_CHECK(cond) ((cond) ? (void)0 : abort())

static volatile int seen;
static int argc_of_main;
static char **argv_of_main;

static int either(int which)
{
    if (which)
        return seen = 1;
    return seen = 2;
}

static int shares_our_memory(void *arg)
{
    either(0);
    either(1);
    if (argc_of_main == 3)
        execve("/bin/true", argv_of_main, NULL);
    _exit(0);
}

static void forked(void)
{
    seen = 3;
}

int main(int argc, char **argv)
{
    static char stack[16384];
    argc_of_main = argc;
    argv_of_main = argv;
    COIL_CHECK(argc > 1 &&
               "a ( in a text");
    COIL_CHECK(argc > 0); if (argc > 5) either(1);
    if (strcmp(argv[1], "shared") == 0) {
        int pid = clone(shares_our_memory, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
        waitpid(pid, NULL, 0);
        return 0;
    }
    pthread_atfork(NULL, NULL, forked);
    int child = argv[1][0] == 'c' ? syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : fork();
    if (child == 0) {
        either(0);
        if (argv[1][0] == 'f' || argv[1][0] == 'c')
            either(1);
        if (argv[1][0] == 'a')
            abort();
        _exit(0);
    }
    waitpid(child, NULL, 0);
    switch (argv[1][0]) {
    case 'x':
        return 1;
    case 'f':
        return 0;
    }
    return 0;
}
"""


class Counting(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.dir.name)
        for folder in ["src/a", "build/libcoil.a.p"]:
            os.makedirs(folder)
        Path("src/a/x.c").write_text(PROGRAM)
        self.source = PROGRAM.splitlines()
        cc = lambda *words: subprocess.run(["gcc", "-w", *words], check=True, cwd="build")
        cc("-O1", "-D_GNU_SOURCE", "-c", str(TOOLS / "coverage.c"), "-o", "ends.o")
        cc("--coverage", "-fno-builtin-execve", "-fno-builtin-fork", "-c", "../src/a/x.c", "-o", "libcoil.a.p/x.o")
        cc("--coverage", "libcoil.a.p/x.o", "ends.o", "-o", "program")

    def run_program(self, *words):
        subprocess.run(["build/program", *words], check=False)
        return coverage.collect(Path("build"))["src/a/x.c"]

    def ways(self, file, text):
        number = self.source.index(text) + 1
        return [min(n, 1) for (line, _), counts in file.branches.items() if line == number for n in counts]

    def test_what_a_child_of_fork_did_before_exit(self):
        file = self.run_program("fork")
        self.assertEqual(sorted(self.ways(file, "    if (which)")), [1, 1])

    def test_what_a_handler_of_fork_did(self):
        self.assertEqual(self.run_program("fork").lines[self.source.index("    seen = 3;") + 1], 1)

    def test_what_a_child_did_before_abort(self):
        file = self.run_program("abort")
        self.assertEqual(sorted(self.ways(file, "        if (argv[1][0] == 'a')")), [0, 1])

    def test_what_a_child_did_that_nobody_was_told_of(self):
        file = self.run_program("clone")
        self.assertEqual(sorted(self.ways(file, "    if (which)")), [1, 1])

    def test_a_child_in_our_memory_is_counted_and_ends_no_counting(self):
        for words in [["shared"], ["shared", "execve"]]:
            file = self.run_program(*words)
            self.assertEqual(sorted(self.ways(file, "    if (which)")), [1, 1])
            self.assertGreaterEqual(file.lines[self.source.index("        waitpid(pid, NULL, 0);") + 1], 1)
            coverage.forget(Path("build"))

    def test_runs_add_up(self):
        self.run_program("fork")
        file = self.run_program("abort")
        self.assertEqual(self.ways(file, "        if (argv[1][0] == 'f' || argv[1][0] == 'c')")[:2], [1, 1])

    def test_a_value_without_label_is_a_way_of_a_switch(self):
        self.assertEqual(sorted(self.ways(self.run_program("fork"), "    switch (argv[1][0]) {")), [0, 0, 1])

    def test_assertions_are_left_out_to_their_last_line(self):
        file = self.run_program("fork")
        self.assertEqual(self.ways(file, "    COIL_CHECK(argc > 1 &&"), [])
        self.assertEqual(file.figures().asserted, 2)  # its second half is a constant

    def test_code_beside_an_assertion_counts(self):
        file = self.run_program("fork")
        self.assertEqual(len(self.ways(file, "    COIL_CHECK(argc > 0); if (argc > 5) either(1);")), 4)

    def test_lines_that_never_ran_are_one_remark(self):
        file = self.run_program("fork")
        first = self.source.index("        int pid = clone(shares_our_memory, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);")
        self.assertIn((first + 1, first + 3, "never run"), coverage.spans(file))

    def test_a_floor_below_what_it_must_have_is_told(self):
        file = self.run_program("fork")
        self.addCleanup(setattr, coverage, "FLOORS", coverage.FLOORS)
        coverage.FLOORS = {"src/a": 10, "": 10}
        self.assertEqual(coverage.demand({"src/a/x.c": file}), 0)
        coverage.FLOORS = {"src/a": 99}
        self.assertEqual(coverage.demand({"src/a/x.c": file}), 1)

    def test_a_percentage_is_never_rounded_up(self):
        self.assertEqual(coverage.cut(99.999), "99.99")
        self.assertEqual(coverage.cut(100.0), "100.00")


if __name__ == "__main__":
    unittest.main()
