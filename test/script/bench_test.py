"""The benchmarks' harness runs, and what it writes can be read: bench_test.py BUILD. Prints TAP. No figure is judged here."""
import json
import os
import subprocess
import sys
import tempfile
import xml.dom.minidom

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BENCH = os.path.join(TOP, "bench")
ROWS = ["switch2", "lock", "gather", "timer_insert", "wake", "echo_50", "grow_soon"]


def bench(build, *words):
    return subprocess.run([sys.executable, "-B", os.path.join(BENCH, "bench.py"), build, *words], capture_output=True, text=True)


def tiny(build, out, *words):
    done = bench(build, *words, "--rounds", "1", "--scale", "0.002", "--no-calls", "--out", out)
    assert done.returncode == 0, done.stderr
    return done


def lines(out):
    with open(os.path.join(out, "lines.jsonl")) as f:
        return [json.loads(line) for line in f]


def test_each_row_has_figures_of_coil(build, out):
    machine, *rows = lines(out)
    assert machine["kind"] == "machine" and machine["cpu"] and machine["kernel"], machine
    assert sorted(row["word"] for row in rows) == sorted(ROWS), [row["word"] for row in rows]
    for row in rows:
        ours = [f for label, f in row["figures"].items() if label.startswith("coil")]
        assert ours, (row["word"], row["missing"])
        for figure in ours:
            assert 0 < figure["min"] <= figure["median"] <= figure["max"], (row["word"], figure)


def test_an_echo_has_its_peer_and_its_targets(build, out):
    row = next(row for row in lines(out)[1:] if row["word"] == "echo_50")
    assert row["figures"]["raw epoll"]["median"] > 0, row
    assert all(f["of_limit"] > 0 for label, f in row["figures"].items() if label.startswith("coil")), row
    assert any(t["who"].startswith("coil sock, ") and t["verdict"] in ("met", "stretch", "missed") for t in row["targets"]), row


def test_growth_has_an_exponent(build, out):
    row = next(row for row in lines(out)[1:] if row["word"] == "grow_soon")
    assert any("exponent" in f for f in row["figures"].values()), row


def test_each_row_has_a_plot(build, out):
    for row in ROWS:
        picture = xml.dom.minidom.parse(os.path.join(out, row + ".svg")).documentElement
        assert picture.tagName == "svg", row
        assert picture.getElementsByTagName("rect").length + picture.getElementsByTagName("circle").length > 1, row


def test_tables_are_made_of_the_lines(build, out):
    path = os.path.join(out, "page.md")
    with open(path, "w") as f:
        f.write("before\n<!-- figures: begin (written by ./dev bench_docs) -->\nold\n<!-- figures: end -->\nafter\n")
    subprocess.run([sys.executable, "-B", os.path.join(BENCH, "harness", "tables.py"), os.path.join(out, "lines.jsonl"), path],
                   check=True, capture_output=True)
    with open(path) as f:
        text = f.read()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "\nold\n" not in text, text
    assert "| yield, 2 tasks | coil | ns |" in text, text


def test_an_unknown_row_is_refused_with_the_known_ones(build, out):
    done = bench(build, "nonsense")
    assert done.returncode == 1 and "echo_50" in done.stderr, done


def test_progress_names_each_row(build, out):
    done = tiny(build, os.path.join(out, "again"), "await_done", "--json")
    assert "[1/1] await_done" in done.stderr, done.stderr
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()] == ["machine", "row"], done.stdout


def main():
    build = sys.argv[1]
    if not os.path.exists(os.path.join(build, "bench_coil_micro")):
        print("the benchmarks are not built here")
        return 77
    failed = 0
    with tempfile.TemporaryDirectory() as out:
        tiny(build, out, *ROWS)
        tests = [(name, fn) for name, fn in globals().items() if name.startswith("test_")]
        for number, (name, fn) in enumerate(tests, 1):
            try:
                fn(build, out)
                print(f"ok {number} - {name[5:]}")
            except AssertionError as e:
                failed = 1
                print(f"not ok {number} - {name[5:]}\n# {e}")
        print(f"1..{len(tests)}")
    return failed


sys.exit(main())
