"""What examples/notes.c promises, from the outside: notes_test.py BUILD [WORD]. Prints TAP."""
import collections
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time

from programs import Program, Skip, at_most, main, until


@contextlib.contextmanager
def book(build, backend, *options, fill=None):
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/notes.db"
        if fill:
            fill(file)
        yield lambda: Program(build, backend, "notes", *options, "127.0.0.1:0", file), file


class Guest:
    def __init__(self, notes):
        self.socket = notes.connect(60)
        self.file = self.socket.makefile("rwb")

    def send(self, line):
        self.file.write(line.encode() + b"\n")
        self.file.flush()

    def line(self):
        return self.file.readline().decode().rstrip("\n")

    def ask(self, line):
        """The rows, and the last line."""
        self.send(line)
        lines = [self.line()]
        while lines[-1] and lines[-1].split()[0] not in ("ok", "error", "pong"):
            lines.append(self.line())
        return lines[:-1], lines[-1]

    def add(self, text):
        rows, end = self.ask(f"add {text}")
        assert end.startswith("ok "), end
        return int(end[3:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()


def test_notes_are_kept_found_and_deleted(build, backend):
    with book(build, backend) as (start, _):
        with start() as notes, Guest(notes) as guest:
            first, second = guest.add("buy milk"), guest.add("buy 100% of the bread")
            assert guest.ask("list") == ([f"{second} buy 100% of the bread", f"{first} buy milk"], "ok")
            assert guest.ask("list 1") == ([f"{second} buy 100% of the bread"], "ok")
            assert guest.ask("search MILK") == ([f"{first} buy milk"], "ok")
            assert guest.ask("search %") == ([f"{second} buy 100% of the bread"], "ok")
            assert guest.ask("search _") == ([], "ok")
            assert guest.ask("count") == ([], "ok 2")
            assert guest.ask(f"delete {first}") == ([], "ok")
            assert guest.ask(f"delete {first}") == ([], "error no such note")
            for bad in ("", "add", "add ", "list 0", "list x", "delete", "delete 1x", "delete 99999999999999999999", "drop",
                        "count 1", "search"):
                assert guest.ask(bad)[1].startswith("error say: add TEXT"), bad
            assert guest.ask("add a\0b")[1] == "error a NUL in it"
            guest.send("quit")
            assert guest.line() == ""
            notes.stop()
            assert notes.errors() == "", notes.errors()
        with start() as notes, Guest(notes) as guest:
            assert guest.ask("list")[0] == [f"{second} buy 100% of the bread"], "it forgot"
            notes.stop()


def test_text_is_never_sql(build, backend):
    with book(build, backend) as (start, file), start() as notes, Guest(notes) as guest:
        texts = ["'); DROP TABLE notes; --", '"; DELETE FROM notes', "' OR '1'='1", "?1", "\\", "%' --", "안녕하세요"]
        ids = [guest.add(text) for text in texts]
        for number, text in zip(ids, texts):
            assert f"{number} {text}" in guest.ask(f"search {text}")[0], text
        assert guest.ask("search ' OR '1'='1")[0] == [f"{ids[2]} ' OR '1'='1"]
        assert guest.ask("delete 1 OR 1=1")[1].startswith("error say")
        assert guest.ask("count")[1] == f"ok {len(texts)}"
        with contextlib.closing(sqlite3.connect(file)) as db:
            assert [row[0] for row in db.execute("SELECT text FROM notes ORDER BY id")] == texts
        notes.stop()


def test_twenty_clients_write_a_thousand_notes(build, backend):
    with book(build, backend) as (start, _), start() as notes:
        numbers = []

        def write(me):
            with Guest(notes) as guest:
                for i in range(50):
                    numbers.append(guest.add(f"note {i} of writer {me}"))

        writers = [threading.Thread(target=write, args=(me,)) for me in range(20)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert sorted(numbers) == list(range(1, 1001)), len(numbers)
        with Guest(notes) as guest:
            rows, end = guest.ask("list 1000")
            assert end == "ok" and {row.split(" ", 1)[1] for row in rows} == {
                f"note {i} of writer {me}" for i in range(50) for me in range(20)}
            assert len(guest.ask("search writer 7")[0]) == 50
        notes.stop()
        assert notes.errors() == "" and "1002 answers" in notes.output(), notes.output() + notes.errors()


# A search for LONG among these compares every place of ten megabytes with thousands of letters; SQLite looks
# for an interrupt between two notes, so none of them is large.
LONG = "a" * 2000 + "b"


def megabytes(file):
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT)")
        for _ in range(500):
            db.execute("INSERT INTO notes (text) VALUES (?)", ("a" * 20000,))
        db.commit()


def test_a_long_question_stops_nobody_and_is_interrupted(build, backend):
    with book(build, backend, "-t", 1, fill=megabytes) as (start, _), start() as notes:
        with Guest(notes) as slow, Guest(notes) as quick:
            began = time.monotonic()
            slow.send(f"search {LONG}")
            worst = 0
            for i in range(20):
                asked = time.monotonic()
                assert quick.ask("ping") == ([], "pong")
                quick.add(f"meanwhile {i}")
                assert quick.ask("list 1")[0][0].endswith(f"meanwhile {i}")
                worst = max(worst, time.monotonic() - asked)
            assert time.monotonic() - began < 1, "the question did not run that long"
            assert slow.line() == "error interrupted"
            assert 0.9 < time.monotonic() - began < at_most(10)
            assert worst < 0.5, f"a ping and two questions took {worst:.2f} s"
            assert slow.ask("count")[1] == "ok 520", "the handle is of no use afterwards"
        notes.stop()
        assert notes.errors() == "", notes.errors()


def test_another_process_that_holds_the_lock_stops_only_writers(build, backend):
    with book(build, backend) as (start, file), start() as notes, Guest(notes) as writer, Guest(notes) as reader:
        writer.add("first")
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            writer.send("add second")
            for _ in range(10):
                assert reader.ask("ping")[1] == "pong"
                assert reader.ask("count")[1] == "ok 1"
            db.execute("ROLLBACK")
        assert writer.line() == "ok 2"
        notes.stop()


def waits(build, notes):
    """How many of its tasks wait for what; None where other processes may not be looked at."""
    done = subprocess.run([f"{build}/coil", "ps", "--json", str(notes.process.pid)], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, timeout=at_most(60))
    if done.returncode != 0:
        return None
    return collections.Counter(task["waits_for"] for task in json.loads(done.stdout)["loops"][0]["tasks"])


def test_sigterm_answers_what_runs_and_refuses_what_waits(build, backend):
    with book(build, backend, "-t", 4, fill=megabytes) as (start, _), start() as notes:
        guests = [Guest(notes) for _ in range(6)]
        for guest in guests:
            guest.send(f"search {LONG}")
        # Four of them run, two wait for a database.
        if waits(build, notes) is None:
            time.sleep(1)
        else:
            until("all questions came", lambda: (waits(build, notes)["thread"], waits(build, notes)["queue"]) == (4, 2))
        notes.signal()
        began = time.monotonic()
        answers = sorted(guest.line() for guest in guests)
        assert answers == ["error interrupted"] * 4 + ["error the server is stopping"] * 2, answers
        for guest in guests:
            assert guest.line() == ""
        assert notes.end() == 0 and notes.errors() == "", notes.errors()
        assert time.monotonic() - began < at_most(8), "it waited until the drain was over"


def test_what_was_answered_survives_a_kill(build, backend):
    with book(build, backend) as (start, _):
        with start() as notes:
            added = []

            def write(guest):
                with contextlib.suppress(AssertionError, OSError):
                    for i in range(100000):
                        text = f"{id(guest)} {i}"
                        guest.add(text)
                        added.append(text)

            writers = [threading.Thread(target=write, args=(Guest(notes),)) for _ in range(5)]
            for writer in writers:
                writer.start()
            until("some notes are written", lambda: len(added) > 200)
            notes.signal(signal.SIGKILL)
            for writer in writers:
                writer.join()
        with start() as notes, Guest(notes) as guest:
            kept = int(guest.ask("count")[1][3:])
            assert len(added) <= kept <= len(added) + 5, (kept, len(added))
            rows = {row.split(" ", 1)[1] for row in guest.ask("list 1000")[0]}
            assert not set(added[-100:]) - rows
            notes.stop()


def test_a_file_that_cannot_be_opened_is_named(build, backend):
    path = os.path.join(build, "examples/notes")
    if not os.path.exists(path):
        raise Skip("examples/notes is not built here (no SQLite)")
    done = subprocess.run([path, "127.0.0.1:0", "/nowhere/notes.db"], stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "COIL_BACKEND": backend})
    assert done.returncode == 1 and "/nowhere/notes.db: unable to open" in done.stderr, done.stderr


main("notes", globals())
