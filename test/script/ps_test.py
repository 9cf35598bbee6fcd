"""What `coil ps`, `coil pstree` and `coil dump` promise, from the outside: ps_test.py BUILD [WORD]. Prints TAP."""
import json
import os
import random
import re
import shutil
import signal
import subprocess

from programs import Skip, at_most, main, sanitized, until
from seen import core_file, state_of, target


def coil(build, *words, status=0):
    done = subprocess.run([f"{build}/coil", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=at_most(120))
    if "ask as root" in done.stderr:
        raise Skip("reading another process is not allowed here")
    assert done.returncode == status, f"coil {words} ended with {done.returncode}: {done.stdout} {done.stderr}"
    return done.stdout if status == 0 else done.stderr


def tasks_of(build, *words):
    """{name: what is told of it}, of the only loop."""
    loops = json.loads(coil(build, "ps", "--json", *words))["loops"]
    assert len(loops) == 1, loops
    return loops[0], {task["name"]: task for task in loops[0]["tasks"]}


def waits_as_it_should(build, *words, live=True):
    loop, tasks = tasks_of(build, *words)
    assert len(tasks) == 10 and not loop["torn"] and not loop["stuck"], tasks
    assert loop["operations"] >= 1 and loop["timers"] == 6, loop
    for name, what, detail, function in [
            ("Task-1", "sleep", r"[\d.]+ s left", "waits"),
            ("holder", "sleep", r"[\d.]+ s left", "holder"),
            ("locker", "lock", "held by holder", "locker"),
            ("receiver", "recv", r"fd \d+(, peer unix)?", "receiver"),
            ("parent", "future", "child", "awaits_a_task"),
            ("gatherer", "future", r"made at .*gather\.c:\d+", "gathers"),
            ("child", "sleep", r"[\d.]+ s left", "sleeper"),
            ("first", "sleep", r"[\d.]+ s left", "sleeper"),
            ("one?[31m'\"", "sleep", r"[\d.]+ s left", "sleeper")]:
        task = tasks[name]
        assert task["state"] == "waiting" and task["waits_for"] == what, task
        assert re.fullmatch(detail, task["detail"]) or (not live and what == "sleep"), task
        assert function in task["stack"], task
        assert task["created_at"].endswith("seen_main.c") or name == "Task-1", task
    assert tasks["locker"]["object"] == "lock", tasks["locker"]
    ids = {task["id"]: name for name, task in tasks.items()}
    for child, parent in [("child", "parent"), ("first", "gatherer"), ("second", "gatherer")]:
        assert [ids[by] for by in tasks[child]["awaited_by"]] == [parent], tasks[child]
    assert tasks["parent"]["awaited_by"] == []


def test_ps_tells_which_object_and_who_else_waits(build, backend):
    if sanitized(f"{build}/seen"):
        raise Skip("a sanitizer keeps what would stand on a stack elsewhere")
    with target(build, backend, "lines") as process:
        _, tasks = tasks_of(build, process.pid)
        table = coil(build, "ps", process.pid)
    for name, what, detail, which, others in [
            ("first", "event", "", "never", 4), ("fifth", "event", "", "never", 4),
            ("getter", "queue", "get", r"app\+8", 0),
            ("patient", "semaphore", "", r"0x[0-9a-f]+ on the stack of Task-1", 0),
            ("listener", "condition", "", r"0x[0-9a-f]+", 0),
            ("early", "barrier", "", r"(lines\.)?gate", 1)]:
        task = tasks[name]
        assert (task["waits_for"], task["detail"], task["others_there"]) == (what, detail, others), task
        assert re.fullmatch(which, task["object"]), task
        assert re.fullmatch(r"0x[0-9a-f]+", task["object_id"]), task
    assert tasks["Task-1"]["object"] is None and tasks["Task-1"]["object_id"] is None, tasks["Task-1"]
    assert tasks["Task-1"]["others_there"] == 0, tasks["Task-1"]
    assert tasks["first"]["object_id"] == tasks["fifth"]["object_id"], tasks
    for words in ["first +event never; also: second, third, fourth and 1 more ",
                  "second +event never; also: first, third, fourth and 1 more ",
                  r"getter +queue app\+8: get ",
                  r"earlier +barrier (lines\.)?gate; also: early ",
                  "patient +semaphore 0x[0-9a-f]+ on the stack of Task-1 "]:
        assert re.search(words, table), (words, table)


def test_ps_tells_what_each_task_waits_for(build, backend):
    with target(build, backend, "waits") as process:
        waits_as_it_should(build, process.pid)
        table = coil(build, "ps", process.pid)
        assert re.search(rf"^loop 0x[0-9a-f]+, thread {process.pid}, {backend}: 10 tasks, 6 timers, ", table), table
        assert re.search(r"^tid +task id +task name +waits for +coroutine stack +awaiter chain +awaiter name +awaiter id$",
                         table, re.M), table
        row = re.search(r"^\d+ +0x[0-9a-f]+ +child .*$", table, re.M).group(0)
        assert re.search(r"sleep: [\d.]+ s left .*-> sleeper .*-> awaits_a_task +parent +0x[0-9a-f]+$", row), row
        assert "\033" not in table


def test_of_a_program_in_debug_mode_ps_tells_since_when(build, backend):
    with target(build, backend, "waits", {"COIL_DEBUG": "1"}) as process:
        waits_as_it_should(build, process.pid)
        first = {name: task["waiting_seconds"] for name, task in tasks_of(build, process.pid)[1].items()}
        assert len(first) == 10 and all(0 <= waited < 60 for waited in first.values()), first
        until("all wait longer", lambda: all(task["waiting_seconds"] > first[name]
                                             for name, task in tasks_of(build, process.pid)[1].items()))
        table = coil(build, "ps", process.pid)
        assert re.search(r"receiver +recv: fd \d+(, peer unix)?, for \d+\.\d s now ", table), table
        assert len(re.findall(r", for \d+\.\d s now ", table)) == 10, table


def test_of_a_program_in_debug_mode_pstree_tells_since_when(build, backend):
    with target(build, backend, "waits", {"COIL_DEBUG": "1"}) as process:
        waits_as_it_should(build, process.pid)
        tree = coil(build, "pstree", process.pid)
    assert len(re.findall(r"^.*──  \w.*, for \d+\.\d s now$", tree, re.M)) == 10, tree
    assert re.search(r"\(T\) parent\n.*  awaits_a_task[^,\n]*\n.* coil_join[^,\n]*, for \d+\.\d s now\n.*\(T\) child$", tree, re.M), tree


def test_without_debug_mode_nobody_guesses_since_when(build, backend):
    with target(build, backend, "waits") as process:
        assert not any("waiting_seconds" in task for task in tasks_of(build, process.pid)[1].values())
        for verb in "ps", "pstree", "dump":
            assert "s now" not in coil(build, verb, process.pid)


def test_a_stopped_program_is_shown_as_well(build, backend):
    with target(build, backend, "waits") as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        waits_as_it_should(build, process.pid)
        assert state_of(process.pid) == "T"


def test_it_goes_on_as_if_nothing_had_been(build, backend):
    # Who starts us may have SIGINT ignored, and then it stays so.
    with target(build, backend, "waits",
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as process:
        for verb in "ps", "pstree", "dump":
            coil(build, verb, process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(at_most(60)) in (130, -signal.SIGINT)


def test_pstree_draws_who_awaits_whom(build, backend):
    with target(build, backend, "waits") as process:
        tree = coil(build, "pstree", process.pid)
    names = re.findall(r"^(.*)\(T\) (.*)$", tree, re.M)
    assert len(names) == 10, tree
    deep = {name: len(before) for before, name in names}
    assert deep["holder"] == deep["parent"] == deep["gatherer"] == 4, tree
    assert deep["child"] > deep["parent"] and deep["first"] == deep["second"] > deep["gatherer"], tree
    line = r"[^ \n]*/seen_main\.c:\d+" if shutil.which("addr2line") else ""
    assert re.search(rf"^└── \(T\) parent\n    └──  awaits_a_task ?{line}\n        └──  coil_join\b", tree, re.M), tree
    assert "/../" not in tree, tree
    assert re.search(r"├── \(T\) first$", tree, re.M) and re.search(r"└── \(T\) second$", tree, re.M), tree


def test_pstree_as_json_nests_those_that_are_awaited(build, backend):
    with target(build, backend, "waits") as process:
        [loop] = json.loads(coil(build, "pstree", "--json", process.pid))["loops"]
    trees = {tree["name"]: tree for tree in loop["trees"]}
    assert len(loop["trees"]) == 7 and not loop["torn"], loop
    assert [child["name"] for child in trees["gatherer"]["awaits"]] == ["first", "second"], trees
    [child] = trees["parent"]["awaits"]
    assert child["name"] == "child" and child["awaited_by"] == [trees["parent"]["id"]] and child["awaits"] == [], child
    assert child["waits_for"] == "sleep" and "circle" not in trees["parent"], child
    assert [call["function"] for call in trees["locker"]["stack"]][-1] == "locker", trees["locker"]


def test_dump_as_json_has_calls_and_lines(build, backend):
    with target(build, backend, "waits") as process:
        told = json.loads(coil(build, "dump", "--json", process.pid))
    assert told["pid"] == process.pid
    tasks = {task["name"]: task for task in told["loops"][0]["tasks"]}
    assert len(tasks) == 10, tasks
    call = tasks["locker"]["stack"][-1]
    assert call["function"] == "locker" and call["file"].endswith("/seen"), call
    assert int(call["address"], 16) > 0, call
    if shutil.which("addr2line"):
        assert re.search(r"seen_main\.c:\d+$", call["source"]), call
    assert tasks["locker"]["detail"] == "held by holder", tasks["locker"]


def without_lines(tree):
    return re.sub(r" [^ \n]*\.[ch]:\d+$", "", tree, flags=re.M)


def quit_tree(build, backend, mode):
    # Who starts us may have SIGQUIT ignored, and then it stays so.
    return target(build, backend, mode, stderr=subprocess.PIPE, env_more={"COIL_QUIT_TREE": "1"},
                  preexec_fn=lambda: signal.signal(signal.SIGQUIT, signal.SIG_DFL))


def test_sigquit_draws_what_pstree_draws(build, backend):
    with quit_tree(build, backend, "waits") as process:
        tree = without_lines(coil(build, "pstree", process.pid))
        for _ in range(2):  # and it goes on
            process.send_signal(signal.SIGQUIT)
            drawn = process.stderr.readline()
            if drawn.startswith("coil: SIGQUIT while the loop is awake, outside of tasks"):  # it was not asleep yet
                drawn = process.stderr.readline()
            drawn += "".join(process.stderr.readline() for _ in tree.splitlines()[1:])
            assert drawn == tree, f"{drawn} is not {tree}"
        assert process.poll() is None


def test_sigquit_in_a_step_without_end_says_whose(build, backend):
    if sanitized(f"{build}/seen", by="t"):
        raise Skip("ThreadSanitizer runs handlers when the thread next calls libc")
    with quit_tree(build, backend, "spins") as process:
        process.send_signal(signal.SIGQUIT)
        said = process.stderr.readline()
        assert re.fullmatch(r"coil: SIGQUIT while the loop is awake, in a step of spinner, created at \S*seen_main\.c:\d+; "
                            rf"its tasks follow when it turns, `coil dump {process.pid}` shows them now\n", said), said


def test_dump_shows_calls_and_lines(build, backend):
    with target(build, backend, "waits") as process:
        text = coil(build, "dump", process.pid)
    task = re.search(r"^Task locker, .*?(?=^Task |\Z)", text, re.M | re.S).group(0)
    assert re.search(r"created at .*seen_main\.c:\d+$", task, re.M), task
    assert "\n  waits for lock lock: held by holder\n" in task, task
    assert re.search(r"^  #\d+ +locker (at .*seen_main\.c:\d+|in seen\+0x[0-9a-f]+)$", task, re.M), task
    if shutil.which("addr2line"):
        assert re.search(r"locker at .*seen_main\.c:\d+$", task, re.M), task


def test_a_loop_that_spins_is_shown_where_it_spins(build, backend):
    with target(build, backend, "spins") as process:
        loop, tasks = tasks_of(build, process.pid)
        assert tasks["spinner"]["state"] == "running", tasks
        if not tasks["spinner"]["stack"]:
            raise Skip("no thread may be stopped here")
        # It may still be about to say "ready".
        until("it spins", lambda: {"spin_here", "spins"} <= set(tasks_of(build, process.pid)[1]["spinner"]["stack"]))
        assert tasks["Task-1"]["waits_for"] == "future" and tasks["Task-1"]["detail"] == "spinner"
        until("it goes on spinning", lambda: state_of(process.pid) == "R")


def test_a_loop_that_nothing_can_wake_is_called_so(build, backend):
    with target(build, backend, "stuck") as process:
        until("it sleeps", lambda: tasks_of(build, process.pid)[1]["waiter"]["state"] == "waiting")
        loop, tasks = tasks_of(build, process.pid)
        assert loop["stuck"] and tasks["waiter"]["waits_for"] == "event", loop
        assert "Nothing known can wake it" in coil(build, "ps", process.pid)
    with target(build, backend, "waits") as process:
        assert "Nothing known can wake it" not in coil(build, "ps", process.pid)


def test_a_core_file_tells_the_same(build, backend):
    with core_file(build, backend) as core:
        waits_as_it_should(build, "--core", core, live=False)
        assert "(T) parent" in coil(build, "pstree", "--core", core)
        assert "Task locker" in coil(build, "dump", "--core", core)


def test_a_spoiled_core_file_harms_nobody(build, backend):
    dice = random.Random(1)
    with core_file(build, backend) as core:
        with open(core, "rb") as f:
            good = f.read()
        for _ in range(40):
            bad = bytearray(good)
            where = dice.choice((512, 65536, len(bad)))
            for _ in range(dice.choice((1, 20, 2000))):
                bad[dice.randrange(min(where, len(bad)))] = dice.choice((0, 255, dice.randrange(256)))
            if dice.random() < 0.2:
                del bad[dice.randrange(len(bad)):]
            with open(core, "wb") as f:
                f.write(bad)
            done = subprocess.run([f"{build}/coil", "ps", "--core", core], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=at_most(120))
            assert done.returncode in (0, 1), (done.returncode, done.stderr)


test_a_spoiled_core_file_harms_nobody.on_one = True


def test_a_core_file_that_calls_a_pipe_its_program_is_not_waited_for(build, backend):
    with core_file(build, backend) as core, open(core, "rb") as f:
        program = os.path.abspath(f"{build}/seen").encode() + b"\0"
        good = f.read()
        assert program in good
        os.mkfifo(f"{os.path.dirname(core)}/" + "p" * (len(program) - 1))
        with open(core, "wb") as f:
            f.write(good.replace(program, b"p" * (len(program) - 1) + b"\0"))
        subprocess.run([os.path.abspath(f"{build}/coil"), "dump", "--core", core], cwd=os.path.dirname(core),
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=at_most(60))


test_a_core_file_that_calls_a_pipe_its_program_is_not_waited_for.on_one = True


def test_what_cannot_be_shown_is_said(build, backend):
    with open("/proc/sys/kernel/pid_max") as f:
        nobody = f.read().strip()
    for words, status, said in [
            (["ps", nobody], 1, f"there is no process {nobody}"),
            (["ps", os.getpid()], 1, "there is no coil in it"),
            (["ps"], 2, "a process number, or --core FILE, is needed"),
            (["ps", "12x"], 2, "`12x` is no process number"),
            (["ps", "1", "2"], 2, "what is `2`?"),
            (["pstree", "--count", "1"], 2, "what is `--count`?"),
            (["dump", "--count", "1"], 2, "what is `--count`?"),
            (["dump", "--core", "/nowhere"], 1, "cannot read /nowhere"),
            (["dump", "--core", __file__], 1, "is no core file")]:
        assert said in coil(build, *words, status=status), words


test_what_cannot_be_shown_is_said.on_one = True


main("ps", globals())
