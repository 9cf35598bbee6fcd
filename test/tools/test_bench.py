"""test_bench.py: the parts of the benchmarks' harness that stand alone: targets, growth, tables, plots, who is missing."""

import sys
import tempfile
import unittest
import xml.dom.minidom
from pathlib import Path

TOP = Path(__file__).parents[2]
sys.path.insert(0, str(TOP / "bench"))
from harness import measure, report, svg, tables, workers  # noqa: E402
from harness.kinds import KINDS, exponent  # noqa: E402
from harness.peers import NAMES, Missing, Peers  # noqa: E402
from harness.rows import ROWS, Micro  # noqa: E402
from harness.targets import ahead, at_most, judge, over, times  # noqa: E402


def figures(**medians):
    return {label.replace("_", ", "): {"median": m, "min": m - 1, "max": m + 1} for label, m in medians.items()}


class Targets(unittest.TestCase):
    def verdicts(self, targets, of):
        return {t["who"]: t["verdict"] for t in judge(targets, of, "ns")}

    def test_each_backend_is_judged(self):
        found = self.verdicts([at_most(10, 5)], figures(coil_epoll=11, coil_uring=10))
        self.assertEqual(found, {"coil, epoll": "missed", "coil, uring": "met"})
        self.assertEqual(self.verdicts([at_most(10, 5)], figures(coil_epoll=5)), {"coil, epoll": "stretch"})

    def test_ratios(self):
        of = figures(coil_epoll=10, libuv=21, Go=9)
        self.assertEqual(self.verdicts([times(2, "libuv")], of), {"coil, epoll": "met"})
        self.assertEqual(self.verdicts([times(3, "libuv")], of), {"coil, epoll": "missed"})
        self.assertEqual(self.verdicts([at_most(0.5, of="libuv")], of), {"coil, epoll": "met"})
        self.assertEqual(self.verdicts(ahead("Go"), of), {"coil, epoll": "missed"})

    def test_what_comes_on_top_is_taken_beside_the_same_backend(self):
        of = {**figures(coil_epoll=100, coil_uring=100), "coil spawn, epoll": {"median": 70}, "coil spawn, uring": {"median": 50}}
        found = self.verdicts([over(40, "coil spawn")], of)
        self.assertEqual((found["coil, epoll"], found["coil, uring"]), ("met", "missed"))

    def test_an_absent_peer_judges_nothing(self):
        self.assertEqual(self.verdicts([times(2, "Go")], figures(coil_epoll=1)), {"coil, epoll": "Go took no part"})

    def test_a_target_of_nobody_is_told(self):
        self.assertEqual(self.verdicts([at_most(1, subject="coil sock")], figures(coil_epoll=1)),
                         {"coil sock": "coil sock took no part"})


class Rows(unittest.TestCase):
    def test_words_are_names_of_files_and_stand_once(self):
        words = [row.word for row in ROWS]
        self.assertEqual(sorted(words), sorted(set(words)))
        self.assertTrue(all(w.replace("_", "a").isalnum() for w in words))

    def test_everybody_in_them_has_a_name_and_each_kind_a_function(self):
        for row in ROWS:
            self.assertIn(type(row).__name__, KINDS)
            self.assertTrue(set(row.peers) <= set(NAMES), row.word)
            self.assertIn(row.limit, [None, *(NAMES[p] for p in row.peers)], row.word)

    def test_targets_name_those_who_take_part(self):
        for row in ROWS:
            peers = {NAMES[p] for p in row.peers}
            for target in row.targets:
                self.assertTrue(target.of is None or target.of in peers or target.of.startswith("coil "), (row.word, target))

    def test_each_row_that_measures_itself_is_a_mode_of_coil(self):
        text = "".join(p.read_text() for p in (TOP / "bench").glob("coil_*.c"))
        for row in ROWS:
            if isinstance(row, Micro):
                self.assertIn(f'{{"{row.word}", ', text)


class Measuring(unittest.TestCase):
    def test_who_fails_is_left_out_and_named(self):
        def once(label):
            if label == "bad":
                raise measure.Trouble("it broke")
            return 3

        progress = measure.Progress(1)
        progress.step = lambda what: None
        seen, failed = measure.in_turns(["good", "bad"], once, 4, progress, warm_up=True)
        self.assertEqual((seen, failed), ({"good": [3] * 4}, {"bad": "it broke"}))

    def test_strace_is_read_by_its_last_line(self):
        with tempfile.NamedTemporaryFile("w", suffix=".calls") as f:
            f.write("    calls syscall\n--------- ----------------\n      100 recvfrom\n       23 sendto\n"
                    "--------- ----------------\n      123 total\n")
            f.flush()
            self.assertEqual(measure.total_calls(f.name), 123)

    def test_growth(self):
        self.assertAlmostEqual(exponent((100, 1000, 10000), (5, 5, 5)), 1)
        self.assertAlmostEqual(exponent((100, 1000, 10000), (1, 10, 100)), 2)

    def test_who_cannot_be_had_is_named_with_the_package(self):
        with tempfile.TemporaryDirectory() as empty, self.assertRaisesRegex(Missing, "libev-dev"):
            Peers(empty).command("ev", "echo")


class Workers(unittest.TestCase):
    def test_the_load_has_its_own_cores_only_where_some_are_left(self):
        self.assertEqual(workers.places(2, 4), ("0,1", "2,3"))
        self.assertEqual(workers.places(2, 3), ("0,1", "2"))
        self.assertEqual(workers.places(2, 2), ("0,1", "0,1"))
        self.assertEqual(workers.places(2, 1), ("0", "0"))
        self.assertIn("shares 2 processors with the workers", workers.note(2, 2))
        self.assertIn("2 of 4 processors to itself", workers.note(2, 4))

    def test_shares_are_read_from_what_workers_say_at_their_end(self):
        said = "worker 1: 90 connections, 3000 requests\nsomething else\nworker 0: 110 connections, 2500 requests\n"
        of = workers.shares(said, workers.SAID["echo"])
        self.assertEqual((of["least"], of["most"], of["uneven"]), (2500, 3000, 1.2))
        self.assertAlmostEqual(of["uneven_connections"], 110 / 90)
        self.assertEqual(workers.shares("httpd: 5 connections, 7 responses, 0 broken off\n", workers.SAID["httpd"]), {})
        self.assertEqual(workers.shares("", workers.SAID["echo"]), {})

    def test_a_worker_without_a_request_is_no_division_by_nothing(self):
        said = "httpd: 0 connections, 0 responses, 0 broken off\nhttpd: 4 connections, 9 responses, 0 broken off\n"
        self.assertEqual(workers.shares(said, workers.SAID["httpd"])["uneven"], 9)

    def test_shares_are_judged(self):
        of = {"coil 2 workers, epoll": {"median": 2, "uneven": 1.3}, "coil 1 worker, epoll": {"median": 2}}
        found = judge([at_most(1.1, metric="uneven", subject="coil 2 workers")], of, "us")
        self.assertEqual([(t["verdict"], t["target"]) for t in found],
                         [("missed", "at most 1.1 between the requests of two workers")])


class Pages(unittest.TestCase):
    row = report.result(Micro("queue", "a <queue> & more", ["go"], [at_most(4)], limit="the bare call"),
                        figures(coil_epoll=10, coil_uring=3), {"Go": "there is none"})
    machine = {"kind": "machine", "cpu": "a CPU", "memory_mib": 2048, "kernel": "Linux", "compiler": "gcc", "commit": "abc",
               "versions": {"libuv1": "1.44"}, "load": 0.1}

    def test_lines_come_back_as_they_went_out(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
            report.write_lines(f.name, self.machine, [self.row])
            self.assertEqual(report.read_lines(f.name), (self.machine, [self.row]))

    def test_text_says_all_of_it(self):
        text = report.text(self.row)
        for part in ("queue: a <queue>", "coil, epoll", "missed   coil, epoll: at most 4 ns (it is 10.0)", "no Go: there is none"):
            self.assertIn(part, text)

    def test_tables_have_a_column_for_each_backend(self):
        text = tables.region(self.machine, [self.row])
        self.assertIn("| row | participant | unit | on epoll | on uring | beside it |", text)
        self.assertIn("| queue | coil, uring | at most 4 ns |  | 3.00 | met |", text)
        self.assertIn("Go: there is none", text)

    def test_a_row_that_has_something_to_remark_says_it(self):
        row = {**self.row, "note": "the load shares 2 processors"}
        self.assertIn("note: the load shares 2 processors", report.text(row))
        self.assertNotIn("note:", report.text(self.row))
        self.assertIn("`queue`: the load shares 2 processors.", tables.region(self.machine, [row]))
        older = {key: value for key, value in self.row.items() if key != "note"}
        self.assertNotIn("`queue`", tables.region(self.machine, [older]))

    def test_time_on_the_clock_stands_in_rows_of_servers_alone(self):
        of = {"coil, epoll": {"median": 1, "min": 1, "max": 1, "wall": 2}}
        for shape, shown in (("Echo", True), ("Workers", True), ("Micro", False)):
            self.assertEqual("clock" in report.text({**self.row, "shape": shape, "figures": of}).splitlines()[1], shown)

    def test_only_what_stands_between_the_marks_is_replaced(self):
        page = f"a\n{tables.BEGIN}\nold\n{tables.END}\nb\n"
        self.assertEqual(tables.replaced(page, "new"), f"a\n{tables.BEGIN}\n\nnew\n\n{tables.END}\nb\n")
        with self.assertRaises(SystemExit):
            tables.replaced("a\n", "new")

    def test_plots_are_well_formed_whatever_the_title(self):
        picture = xml.dom.minidom.parseString(svg.plot(self.row)).documentElement
        self.assertEqual(picture.getElementsByTagName("rect").length, 3)  # the ground and two bars
        nothing = {**self.row, "figures": {}, "shape": "Growth"}
        self.assertEqual(xml.dom.minidom.parseString(svg.plot(nothing)).documentElement.tagName, "svg")


if __name__ == "__main__":
    unittest.main()
