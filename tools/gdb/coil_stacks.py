# SPDX-License-Identifier: MIT
"""coil_stacks.py: the calls of parked tasks, and core files that have them.

A parked task left its registers on its stack. An unwinder tells gdb that they belong to the caller of the thread's innermost
frame, whichever that is: from frame 1 on, gdb then sees the task. Nothing in the program is called or written, so that
core files are no other case.

Always true: while no task is looked at, the unwinder is switched off.
"""
import itertools
import re
import struct

import gdb
import gdb.unwinder
from gdb.FrameDecorator import FrameDecorator

from coil_seen import number, read, symbol, text

# ---- the calls of a parked task -------------------------------------------------------------------------------

class FrameId:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc


class Parked(gdb.unwinder.Unwinder):
    """Says that the innermost frame of the thread, whichever that is, was called by a stopped coroutine."""

    def __init__(self):
        super().__init__("coil")
        self.enabled = False

    def choose(self, layout, co):
        """False: nothing is known of how this build leaves registers."""
        names = text(layout.saved).split()
        if len(names) != layout.saved_n or not names:
            return False
        sp = number(co + layout.coro_sp)
        # d8 and the like are parts of registers, which gdb does not take.
        self.registers = {name: number(sp + 8 * i) for i, name in enumerate(names) if not re.fullmatch(r"d\d+", name)}
        self.registers["rsp" if "rip" in names else "sp"] = sp + 8 * len(names)
        self.sp = sp
        self.switch(True)
        return True

    def switch(self, on):
        self.enabled = on
        gdb.invalidate_cached_frames()

    def __call__(self, pending):
        if pending.level() != 0:
            return None
        word = gdb.selected_inferior().architecture().integer_type(64, False)
        # Below all of the task's frames, since gdb ends where a caller's frame lies below its callee's.
        info = pending.create_unwind_info(FrameId(gdb.Value(self.sp - 64).cast(word), gdb.Value(0).cast(word)))
        for name, value in self.registers.items():
            info.add_saved_register(name, gdb.Value(value).cast(word))
        return info


class Named(FrameDecorator):
    def function(self):
        return self.inferior_frame().name() or "??"


class OnlyTasks:
    """A frame filter: without the thread's own innermost frame, and without what called the task's function."""

    def __init__(self):
        self.name, self.priority, self.enabled = "coil", 1000, False
        self.entries = range(0)
        gdb.frame_filters[self.name] = self

    def filter(self, frames):
        return map(Named, itertools.takewhile(lambda f: f.inferior_frame().pc() - 1 not in self.entries,
                                              itertools.dropwhile(lambda f: f.inferior_frame().level() == 0, frames)))


parked, only_tasks = Parked(), OnlyTasks()
gdb.unwinder.register_unwinder(None, parked, replace=True)
chosen = None  # by `coil task`; its calls stay in sight until the program goes on


def unchoose(_event=None):
    global chosen
    if chosen:
        chosen = None
        parked.switch(False)


gdb.events.cont.connect(unchoose)
gdb.events.exited.connect(unchoose)


def explain_ucontext():
    raise gdb.GdbError("This build of coil switches by ucontext: how a parked task left its registers is not known.")


def back_to(thread, level):
    if thread and thread.is_valid():
        thread.switch()
        gdb.execute(f"frame level {level}", to_string=True)


def show_parked(task, how):
    for n, co in enumerate(task.stacks()):
        if n:
            print("driven by:")
        if not parked.choose(task.layout, co):
            explain_ucontext()
        only_tasks.entries = range(task.layout.entries, task.layout.entries_end)
        only_tasks.enabled = True
        try:
            gdb.execute(f"bt {how}")
        finally:
            only_tasks.enabled = False
            parked.switch(False)


def thread_of(loop):
    for thread in gdb.selected_inferior().threads():
        if loop.tid in thread.ptid[1:]:
            return thread
    raise gdb.GdbError(f"The thread {loop.tid} of its loop is not among gdb's threads.")


def show_calls(task, how):
    what = f"waits for {task.waits_for()}" if task.state == "waiting" else task.state
    print(f"Task {task.name}, {task.at:#x}, {what}, created at {task.file or '?'}:{task.line}")
    if task.state == "new":
        print(f"It has not begun: {symbol(task.fn)}")
        return
    unchoose()
    thread = gdb.selected_thread()
    level = gdb.selected_frame().level()
    try:
        if task.state == "running":
            thread_of(task.loop).switch()
            gdb.execute(f"bt {how}")
        else:
            show_parked(task, how)
    finally:
        back_to(thread, level)


def step_into(task):
    """Until it is unchosen: what gdb's own commands speak of."""
    global chosen
    if task.state == "new":
        raise gdb.GdbError(f"It has not begun: {symbol(task.fn)}")
    if task.state == "running":
        thread_of(task.loop).switch()
        gdb.execute("frame")
        return
    if not parked.choose(task.layout, next(task.stacks())):
        explain_ucontext()
    chosen = task
    gdb.execute("frame 1")


# ---- a core file that has the stacks --------------------------------------------------------------------------

PAGE = 4096


def fill(file, low, high, offset):
    """The pages from low to high that can be read go to the file; zeros are a hole in it already."""
    try:
        got = read(low, high - low)
    except gdb.MemoryError:
        middle = low + (high - low) // 2 // PAGE * PAGE
        if middle > low:
            fill(file, low, middle, offset)
            fill(file, middle, high, offset + middle - low)
        return
    for at in range(0, len(got), PAGE):
        if any(page := got[at:at + PAGE]):
            file.seek(offset + at)
            file.write(page)


def segments(file):
    """(address, bytes, offset) of each segment of an ELF file of 64 bits."""
    head = struct.unpack("=16xHHIQQQIHHHHHH", file.read(64))
    for i in range(head[9]):
        file.seek(head[4] + i * head[8])
        kind, _, offset, address, _, size = struct.unpack("=IIQQQQ", file.read(40))
        if kind == 1:
            yield address, size, offset


def write_core(path):
    said = gdb.execute(f"generate-core-file {path}", to_string=True)
    missing = [int(at, 16) for at in re.findall(r"bytes at (0x[0-9a-f]+)", said)]
    with open(path, "r+b") as file:
        for address, size, offset in list(segments(file)):
            for at in missing:
                if address <= at < address + size:
                    fill(file, at, address + size, offset + at - address)
