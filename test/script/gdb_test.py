"""What tools/gdb/coil.py promises in gdb, and what the probes tell: gdb_test.py BUILD [WORD]. Prints TAP.

The program is test/script/seen_main.c, as for ps_test.py."""
import os
import re
import signal
import subprocess
import tempfile

from programs import TOP, Skip, at_most, main, sanitized, tool, until
from seen import core_file, target

SCRIPT = f"{TOP}/tools/gdb/coil.py"
# What stands above a task's own calls, outermost last, in order, between others.
CALLS = {
    "Task-1": ["coil__park_task", "coil_sleep", "waits", "main_task"],
    "holder": ["coil__park_task", "coil_sleep", "holder"],
    "locker": ["coil__park_task", "coil_lock_acquire", "locker"],
    "receiver": ["coil__park_task", "coil_sock_recv", "receiver"],
    "parent": ["coil__park_task", "coil_await_future", "coil_join", "awaits_a_task"],
    "gatherer": ["coil__park_task", "coil_gather", "gathers"],
    "second": ["coil__park_task", "coil_sleep", "sleeper"],
}


def gdb(*words, commands=(), script=SCRIPT, env=None):
    """What gdb says to these commands; each one's answer is a string of the list."""
    more = []
    for command in commands:
        more += ["-ex", f"echo \\n<{len(more) // 4}>\\n", "-ex", command]
    done = subprocess.run(
        [tool("gdb"), "-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "set pagination off",
         "-ex", "set width 0", *(["-ex", f"source {script}"] if script else []), *more, *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=at_most(240),
        errors="replace",
        # Who looks for leaks cannot be traced.
        env={**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0", **(env or {})})
    if re.search(r"ptrace: Operation not permitted|Could not trace the inferior|Couldn't get registers", done.stdout):
        raise Skip("no process may be traced here")
    if "Python scripting is not supported" in done.stdout:
        raise Skip("this gdb has no Python")
    said = re.split(r"\n<\d+>\n", done.stdout)[1:]
    assert len(said) == len(commands), done.stdout
    return said


def settled(build, process, commands, whole):
    """The answers, once `whole` likes them: who says "ready" is not asleep yet."""
    got = []

    def look():
        got[:] = gdb("-p", str(process.pid), commands=commands)
        return whole(got)
    until(f"it stands where it should: {got}", look, seconds=60)
    return got


def rows(table):
    """{name: (state, function, the rest)} of what `coil tasks` prints."""
    return {name: (state, function, rest) for name, state, function, rest in re.findall(
        r"^  0x[0-9a-f]+ +(\S+) +(waiting|ready|running|new) +(\S+) *(.*)$", table, re.M)}


def without_ucontext(said):
    if "switches by ucontext" in said:
        raise Skip("this build switches by ucontext")
    return said


def functions(calls):
    return re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?(\w+) \(", without_ucontext(calls), re.M)


def in_order(some, all_of):
    left = iter(all_of)
    return all(name in left for name in some)


def waits_as_it_should(loop, tasks, calls, live):
    tasks_n = re.match(r"loop 0x[0-9a-f]+, thread \d+, \w+: (\d+) tasks\n", loop).group(1)
    assert tasks_n == "10" and "timers 6," in loop and "kept alive by 6 timers, 1 operation" in loop, loop
    got = rows(tasks)
    assert len(got) == 10, tasks
    time = r"sleep: [\d.]+ s left" if live else "sleep"
    for name, function, rest in [
            ("Task-1", "main_task", time), ("holder", "holder", time), ("locker", "locker", "lock: held by holder"),
            ("receiver", "receiver", r"recv: fd \d+"), ("parent", "awaits_a_task", "future: child"),
            ("gatherer", "gathers", r"future: made at .*gather\.c:\d+"), ("one?[31m'\"", "sleeper", time),
            ("child", "sleeper", time + " +parent"), ("first", "sleeper", time + " +gatherer"),
            ("second", "sleeper", time + " +gatherer")]:
        assert got[name][:2] == ("waiting", function) and re.fullmatch(rest, got[name][2]), (name, got[name])
    for (name, expected), said in zip(CALLS.items(), calls):
        found = functions(said)
        assert in_order(expected, found) and found[-1] == expected[-1], (name, said)


LOOK = ["coil loop", "coil tasks", *(f"coil bt {name}" for name in CALLS)]


def test_a_running_program_shows_its_tasks_and_goes_on(build, backend):
    # Who starts us may have SIGINT ignored, and then it stays so.
    with target(build, backend, "waits",
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as process:
        loop, tasks, *calls = settled(build, process, LOOK, lambda said: "10 tasks" in said[0] and "ready 0" in said[0])
        waits_as_it_should(loop, tasks, calls, live=True)
        assert f"thread {process.pid}, {backend}:" in loop, loop
        process.send_signal(signal.SIGINT)
        assert process.wait(at_most(60)) in (130, -signal.SIGINT)


def test_tasks_wait_for_variables_with_names(build, backend):
    with target(build, backend, "lines") as process:
        tasks, = settled(build, process, ["coil tasks"], lambda said: said[0].count(" waiting ") == 11)
    waits = {name: row[2] for name, row in rows(tasks).items()}
    assert waits["first"] == "event: never", tasks
    # A static variable of a function has the function's name with it, if clang compiled it.
    assert re.fullmatch(r"barrier: (lines\W)?gate\]?", waits["early"]) and waits["early"] == waits["earlier"], tasks
    assert waits["getter"] == "queue: get app + 8", tasks
    for name, word in [("patient", "semaphore"), ("listener", "condition")]:  # on a stack and on the heap
        assert re.fullmatch(word + ": 0x[0-9a-f]+", waits[name]), tasks


def test_a_core_file_of_gdb_shows_the_same(build, backend):
    if sanitized(f"{build}/seen"):
        raise Skip("a sanitizer's shadow memory makes core files of terabytes")
    with target(build, backend, "waits") as process, tempfile.TemporaryDirectory() as folder:
        core = f"{folder}/core"
        settled(build, process, ["coil loop"], lambda said: "ready 0" in said[0])
        said = gdb("-p", str(process.pid), commands=[f"coil core {core}", f"gcore {core}.plain"])
        assert f"Saved corefile {core}\n" in said[0], said
        loop, tasks, *calls = gdb(f"{build}/seen", core, commands=LOOK)
        waits_as_it_should(loop, tasks, calls, live=False)
        # Without the program its symbols are gone, its tables are not.
        tasks = gdb("-core", core, commands=["file", "coil tasks"])[1]
        assert "lock: held by holder" in tasks and len(rows(tasks)) == 10, tasks
        # Where guard pages lie within a mapping, gdb's own file lacks the stacks, and that is said.
        tasks = gdb(f"{build}/seen", f"{core}.plain", commands=["coil tasks"])[0]
        assert len(rows(tasks)) == 10 or "use `coil core FILE`" in tasks, tasks


def test_a_core_file_of_the_kernel_shows_the_same(build, backend):
    with core_file(build, backend) as core:
        loop, tasks, *calls = gdb(f"{build}/seen", core, commands=LOOK)
        waits_as_it_should(loop, tasks, calls, live=False)


def test_at_a_breakpoint_tasks_run_and_have_not_begun(build, backend):
    tasks, running, new, waits, alone, chosen, *_, gone_on = gdb(
        "--args", f"{build}/seen", "waits", env={"COIL_BACKEND": backend},
        commands=["break holder", "run", "coil tasks", "coil bt holder", "coil bt locker", "coil bt 1", "bt 1",
                  "coil task 1", "break locker", "continue", "bt"])[2:]
    got = rows(tasks)
    assert got["holder"][0] == "running" and got["locker"][0] == "new" and got["Task-1"][0] == "waiting", tasks
    assert functions(running)[0] == "holder" and "coil__run" not in running, running
    assert "It has not begun: locker" in new, new
    assert functions(waits)[-1] == "main_task", waits
    assert functions(alone) == ["holder"], alone
    # When the program goes on, no task is chosen any more.
    assert "coil__park_task" in chosen or "coro_switch" in chosen, chosen
    assert functions(gone_on)[0] == "locker" and "coil__park_task" not in gone_on, gone_on


def test_a_chosen_task_is_what_gdbs_commands_speak_of(build, backend):
    with target(build, backend, "waits") as process:
        settled(build, process, ["coil loop"], lambda said: "ready 0" in said[0])
        said = gdb("-p", str(process.pid), commands=[
            "frame", "coil task parent", "bt", "frame function awaits_a_task", "info locals", "print *child",
            "coil task", "bt -1", "detach"])
    calls = functions(said[2])
    assert in_order(CALLS["parent"], calls), said[2]
    assert "child = (coil_task *) 0x" in said[4] and "<task child, waits for sleep: " in said[4], said[4]
    assert said[5].startswith("$1 = task child, waits for sleep"), said[5]
    assert said[6].splitlines()[0] == said[0].splitlines()[0], (said[0], said[6])
    assert " main (" in said[7], said[7]


def test_a_generators_calls_come_before_its_drivers(build, backend):
    with target(build, backend, "deeper") as process:
        loops, tasks, calls, chosen = settled(
            build, process, ["coil loop", "coil tasks", "coil bt driver", "coil task driver"],
            lambda said: len(re.findall("^loop.*\n.* ready 0", said[0], re.M)) == 2)
    assert len(set(re.findall("thread (\\d+)", loops))) == 2, loops
    got = rows(tasks)
    assert got["driver"][1] == "drives_a_generator" and re.fullmatch(r"sleep: .* left +outer", got["inner"][2]), tasks
    inner, outer = calls.split("driven by:\n")
    assert in_order(["coil__park_task", "coil_sleep", "numbers"], functions(inner)) and "drives" not in inner, calls
    assert in_order(["coil_gen_next", "drives_a_generator"], functions(outer)), calls
    assert functions(outer)[-1] == "drives_a_generator", calls


def test_values_are_printed_as_what_they_say(build, backend):
    with target(build, backend, "deeper") as process:
        said = gdb("-p", str(process.pid), commands=[
            "print failed", "print *failed", "print *failed->error", "print *later", "print failed->loop",
            "print /r *later", "print (coil_task *)0", "print (coil_task *)1", "detach"])
    assert re.match(r"\$1 = \(coil_task \*\) 0x[0-9a-f]+ <task failure, finished with -ENOENT>\n", said[0]), said[0]
    assert said[1] == "$2 = task failure, finished with -ENOENT\n", said[1]
    assert re.match(r"\$3 = -ENOENT: there is no such thing, at .*seen_main\.c:\d+, in failure\n", said[2]), said[2]
    assert said[3] == "$4 = handle of say_ready, timed\n", said[3]
    assert re.match(rf"\$5 = \(coil_loop \*\) 0x[0-9a-f]+ <thread {process.pid}, {backend}>\n", said[4]), said[4]
    assert "is_timer = true" in said[5], said[5]
    assert said[6].endswith("(coil_task *) 0x0\n") and said[7].endswith("(coil_task *) 0x1\n"), said


def test_a_loop_that_nothing_can_wake_is_called_so(build, backend):
    with target(build, backend, "stuck") as process:
        said = settled(build, process, ["coil loop"], lambda said: "ready 0" in said[0])
        assert "Nothing known can wake it." in said[0], said


def test_a_stripped_program_shows_its_tasks_too(build, backend):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([tool("strip"), "-o", f"{folder}/seen", f"{build}/seen"], check=True)
        with target(folder, backend, "waits") as process:
            loop, tasks, calls = settled(folder, process, ["coil loop", "coil tasks", "coil bt locker"],
                                         lambda said: "ready 0" in said[0])
    got = rows(tasks)
    assert len(got) == 10 and got["locker"][2] == "lock: held by holder" and got["locker"][1][:2] == "0x", tasks
    assert len(re.findall(r"^#\d+ +0x[0-9a-f]+ in \?\? \(\)$", without_ucontext(calls), re.M)) >= 3, calls


test_a_stripped_program_shows_its_tasks_too.on_one = True


def test_what_cannot_be_shown_is_said(build, backend):
    for commands, what in [(["coil tasks"], "The program is not being run."),
                           (["coil nonsense"], "coil loop | coil tasks | coil bt TASK"),
                           (["coil bt"], "Which task? coil tasks lists them."),
                           (["help coil bt"], "The C calls of a task")]:
        assert what in gdb(commands=commands)[0], what
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            assert "There is no coil in this program" in gdb("-p", str(process.pid), commands=["coil tasks"])[0]
        finally:
            process.kill()
    with target(build, backend, "waits") as process:
        said = gdb("-p", str(process.pid), commands=["coil bt nobody", "coil core", "coil bt 0x10"])
        assert "There is no task nobody; coil tasks lists them." in said[0], said
        assert "Into which file?" in said[1] and "There is no task 0x10;" in said[2], said


test_what_cannot_be_shown_is_said.on_one = True


def plain(text, program):
    """Without numbers, addresses and folders, and without calls inside the library, which depend on how it was optimised."""
    lines = []
    for line in text.splitlines():
        line = re.sub(r"[^\s()]*/(\w+\.[ch])", r"\1", line.rstrip())
        line = re.sub(r"0x[0-9a-f]+", "X", line)
        line = re.sub(r"[\d.]+ s (left|overdue)", "T", line)
        line = re.sub(r"\d+(\.\d+)?", "N", line)
        line = re.sub(r"\b(uring|epoll|poll)(?=[:,])", "B", line)
        line = re.sub(r" +", " ", re.sub(r"\(.*\) at ", "() at ", line)).rstrip()
        # A line of source begins with its number and a tab.
        if line and not (line.startswith("#") and f"{program}.c" not in line) and not line.startswith("N\t"):
            lines.append(re.sub("^#N (X in )?", "# ", line))
    return lines


def test_the_guide_shows_what_gdb_says(build, backend):
    with open(f"{TOP}/docs/guide/gdb-and-probes.md") as f:
        program, talk = re.search(r"^```console\n\$ gdb -q -p \$\(pidof (\w+)\)\n(.*?)^```$", f.read(), re.M | re.S).groups()
    path = f"{build}/examples/hangs/{program}"
    if not os.path.exists(path):
        raise Skip("examples are not built here")
    if sanitized(path):
        raise Skip("what a guide shows is of programs without a sanitizer")
    turns = [turn.partition("\n") for turn in talk.split("(gdb) ")[1:]]
    assert len(turns) >= 4, turns
    with subprocess.Popen([path], env={**os.environ, "COIL_BACKEND": backend}) as process:
        try:
            wanted = [plain(answer, program) for _, _, answer in turns]
            got = []

            def as_it_stands():
                said = gdb("-p", str(process.pid), commands=[command for command, _, _ in turns] + ["detach"])[:-1]
                without_ucontext(said[2])
                got[:] = [plain(answer, program) for answer in said]
                return got == wanted
            try:
                until("it hangs as it should", as_it_stands, seconds=60)
            except AssertionError:
                raise AssertionError(f"{got} is not {wanted}") from None
        finally:
            process.kill()


# ---- probes ----

# Name: the bytes of each argument, negative if it is signed.
PROBES = {
    "task_spawn": [8, 8], "task_run": [8], "task_park": [8, 8], "task_done": [8, -8], "task_cancel": [8, 8],
    "op_submit": [8, -4, 1], "op_done": [8, -4, 1, -8], "loop_turn": [8, 8, 8, 8], "loop_sleep": [8, -8],
    "timer_fire": [8, 8, -8],
}


def test_probes_stand_in_the_notes(build, backend):
    notes = subprocess.run([tool("readelf"), "-nW", f"{build}/seen"], stdout=subprocess.PIPE, text=True, check=True).stdout
    if "aarch64" not in os.uname().machine and "x86_64" not in os.uname().machine:
        raise Skip("this CPU has no probes")
    found = re.findall(r"Provider: coil\n +Name: (\w+)\n +Location: (\S+), Base: (\S+), Semaphore: (\S+)\n"
                       r" +Arguments: (.*)\n", notes)
    assert {name for name, *_ in found} == set(PROBES), found
    for name, location, base, semaphore, arguments in found:
        assert int(location, 16) and int(base, 16) and not int(semaphore, 16), (name, location)
        assert [int(size) for size in re.findall(r"(-?\d)@", arguments)] == PROBES[name], (name, arguments)
    said = gdb(f"{build}/seen", commands=["info probes stap coil"])[0]
    assert set(re.findall(r"^stap +coil +(\w+) +0x", said, re.M)) == set(PROBES), said


test_probes_stand_in_the_notes.on_one = True


def test_the_guide_has_all_probes(build, backend):
    with open(f"{TOP}/docs/guide/gdb-and-probes.md") as f:
        table = re.findall(r"^\| `(\w+_\w+)` \| ([^|]*) \|", f.read(), re.M)
    assert {name: arguments.count(",") + 1 for name, arguments in table} == {
        name: len(sizes) for name, sizes in PROBES.items()}, table


test_the_guide_has_all_probes.on_one = True


def test_each_probe_is_passed(build, backend):
    breaks = []
    for n, name in enumerate(PROBES, 1):
        breaks += [f"break -probe-stap coil:{name}", f"ignore {n} 1000000"]
    said = gdb("--args", f"{build}/seen", "ends", env={"COIL_BACKEND": backend},
               commands=[*breaks, "run", "info breakpoints"])
    assert "exited normally" in said[-2] or "LeakSanitizer" in said[-2], said[-2]
    hits = {name: 0 for name in PROBES}
    for n, times in re.findall(r"^(\d+) +breakpoint .*\n\tbreakpoint already hit (\d+) times?$", said[-1], re.M):
        hits[list(PROBES)[int(n) - 1]] = int(times)
    assert hits["task_spawn"] == hits["task_done"] == 4 and hits["task_cancel"] == 1, hits
    assert hits["task_run"] == hits["task_park"] + hits["task_done"], hits
    assert hits["timer_fire"] == 1 and hits["op_submit"] == hits["op_done"] >= 1 and hits["loop_turn"] > 4, hits


def test_a_breakpoint_on_a_probe_sees_its_arguments(build, backend):
    said = gdb("--args", f"{build}/seen", "ends", env={"COIL_BACKEND": backend}, commands=[
        "break -probe-stap coil:task_done", "run", "print (coil_task *)$_probe_arg0", "print (long)$_probe_arg1",
        "break -probe-stap coil:task_cancel", "continue", "print (coil_task *)$_probe_arg0", "print (char *)$_probe_arg1",
        "disable", "break -probe-stap coil:op_done if $_probe_arg3 > 0", "continue", "print $_probe_arg3",
        "delete", "break -probe-stap coil:task_park", "coil bt received", "kill"])
    assert "Breakpoint 1, " in said[1] and re.search(r"0x[0-9a-f]+ <task seven, running>\n", said[2]), said
    assert said[3].endswith("= 7\n") and "<task cancelled, waits for sleep" in said[6], said
    assert said[7].endswith('"not wanted"\n'), said
    assert re.search(r"= [1-9]\d*\n", said[11]) and "receiver" in functions(said[14]), said


def test_a_loop_that_falls_asleep_says_for_how_long(build, backend):
    said = gdb("--args", f"{build}/seen", "stuck", env={"COIL_BACKEND": backend}, commands=[
        "break -probe-stap coil:loop_sleep", "run", "print (coil_loop *)$_probe_arg0", "print $_probe_arg1", "kill"])
    assert f", {backend}>\n" in said[2] and said[3].endswith("= -1\n"), said


main("gdb", globals())
