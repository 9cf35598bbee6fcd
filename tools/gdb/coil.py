# SPDX-License-Identifier: MIT
"""coil.py: gdb sees loops and tasks.

    (gdb) coil loop             each loop, and what keeps it alive
    (gdb) coil tasks            each task: where it is, what it waits for, who awaits it
    (gdb) coil bt TASK [...]    the C calls of a task; further words are bt's own, as -full
    (gdb) coil task TASK        from here on bt, up and info locals speak of that task; alone: of the thread again
    (gdb) coil core FILE        gcore, with the stacks that lie behind guard pages

TASK is a name, a number (of Task-N), or an address. Pointers to tasks, futures and loops, errors and handles are printed as
what they say.

Installed where gdb loads it by itself together with libcoil.so; for static programs: source FILE.
"""
import os
import sys

import gdb

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
leaves_no_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # where it is installed
import coil_printers  # noqa: E402, F401
from coil_seen import all_loops, count, find_task, sights, some_loops, symbol  # noqa: E402
from coil_stacks import show_calls, step_into, unchoose, write_core  # noqa: E402

sys.dont_write_bytecode = leaves_no_bytecode

class Command(gdb.Command):
    """Its help is its class's text."""

    def __init__(self, word, prefix=False):
        super().__init__(word, gdb.COMMAND_DATA, prefix=prefix)


class Coil(Command):
    """Loops and tasks of coil: coil loop, coil tasks, coil bt TASK, coil task TASK, coil core FILE."""

    def invoke(self, line, from_tty):
        raise gdb.GdbError("coil loop | coil tasks | coil bt TASK [bt's words] | coil task [TASK] | coil core FILE")


class CoilLoop(Command):
    """Each loop: its thread, its backend, how much it has to do, and what keeps it alive."""

    def invoke(self, line, from_tty):
        for loop in some_loops():
            tasks = list(loop.tasks())
            print(f"loop {loop.at:#x}, {loop.title()}: {count(len(tasks), 'task')}")
            print(f"  turns {loop.turns}, ready {loop.ready}, timers {loop.timers}, operations {loop.operations}, "
                  f"descriptors {loop.descriptors}, thread jobs {loop.jobs}")
            alive = loop.alive_by()
            if alive:
                print(f"  kept alive by {', '.join(alive)}")
            elif loop.running and tasks and all(task.state != "running" for task in tasks):
                print("  Nothing known can wake it.")


class CoilTasks(Command):
    """Each task of each loop: address, name, state, function, what it waits for, who awaits it."""

    def invoke(self, line, from_tty):
        for loop in some_loops():
            tasks = list(loop.tasks())
            print(f"loop {loop.at:#x}, {loop.title()}: {count(len(tasks), 'task')}")
            names = {task.at: task.name for task in tasks}
            owners = {task.number: task.name for task in tasks}
            rows = [("task", "name", "state", "function", "waits for", "awaited by")] if tasks else []
            for task in tasks:
                by = dict.fromkeys(names.get(at, f"{at:#x}") for at in task.waiters())
                waits = task.waits_for(owners) + (f" (went on after {count(task.cancels, 'cancel')})"
                                                  if task.cancels and task.state == "waiting" else "")
                rows.append((f"{task.at:#x}", task.name, task.state, symbol(task.fn), waits, ", ".join(by)))
            widths = [max(map(len, column)) for column in zip(*rows)]
            for row in rows:
                print("  " + "  ".join(word.ljust(width) for word, width in zip(row, widths)).rstrip())


class OfTask(Command):
    def complete(self, line, word):
        try:
            return [task.name for loop in all_loops() for task in loop.tasks() if task.name.startswith(word)]
        except gdb.error:
            return []


class CoilBt(OfTask):
    """The C calls of a task: coil bt TASK [WORD]...

TASK is a name, a number (of Task-N) or an address; the other words are those of bt, such as 3 or -full."""

    def invoke(self, line, from_tty):
        words = gdb.string_to_argv(line)
        if not words:
            raise gdb.GdbError("Which task? coil tasks lists them.")
        show_calls(find_task(words[0]), " ".join(words[1:]))


class CoilTask(OfTask):
    """Look at a parked task: coil task TASK

From here on bt, up, down, frame and info locals speak of that task. Frame 0 stays the thread's own. It ends with `coil task`
alone, and when the program goes on: end it before `finish` or `next`."""

    def invoke(self, line, from_tty):
        words = gdb.string_to_argv(line)
        unchoose()
        if words:
            step_into(find_task(words[0]))
        else:
            gdb.execute("frame")


class CoilCore(Command):
    """Write a core file: coil core FILE

gdb's own gcore stops at the first guard page of a mapping, and so leaves out the stacks of tasks. This one goes on behind
it. (What the kernel writes when a program crashes is whole.)"""

    def invoke(self, line, from_tty):
        words = gdb.string_to_argv(line)
        if len(words) != 1:
            raise gdb.GdbError("Into which file?")
        sights()
        write_core(words[0])
        print(f"Saved corefile {words[0]}")


Coil("coil", prefix=True)
for made in CoilLoop, CoilTasks, CoilBt, CoilTask, CoilCore:
    made("coil " + made.__name__[len("Coil"):].lower())
