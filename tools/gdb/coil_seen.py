# SPDX-License-Identifier: MIT
"""coil_seen.py: loops and tasks, as they lie in the memory of the program that gdb looks at.

    data sections --magic--> struct sight --loops--> loop --parts--> struct sight_tasks, tasks --> waits, who awaits

How things lie is told by the program itself, in the tables of src/loop/sight.h. So nothing here needs debug information, and
running programs and core files are one case.

Always true: nothing that is read is believed. Lists are walked as far as their links lead back, and bounded.

Elsewhere: the calls of a task (coil_stacks.py), what is printed of values (coil_printers.py), commands (coil.py).
"""
import errno
import re
import struct
import time

import gdb

# ---- the tables of src/loop/sight.h, in order -----------------------------------------------------------------

MAGIC = b"\177coil:sight\n\001\002\003\0"
VERSION = 1

# (type, fields...): what `struct` calls it.
SIGHT = [
    ("16s", "magic"), ("P", "self"), ("I", "version", "size"), ("P", "loops"),
    ("I", "link", "head", "tail", "running", "debug", "is_virtual", "virtual_ns", "timers_n", "backend_class",
     "backend", "jobs", "wakers", "signals", "parts", "thread_id", "turns", "pid"),
    ("I", "backend_pending", "backend_fds", "class_name"),
    ("I", "task_part"), ("I", "part_layout"),
]
TASKS = [
    ("I", "version", "size"),
    ("I", "part_tasks", "part_current"),
    ("I", "future_all", "future_state", "future_is_task", "future_callbacks", "future_file", "future_line"),
    ("I", "future_callback_link", "future_callback_by"),
    ("I", "task_name", "task_name_size", "task_number", "task_waiting", "task_leaf", "task_coro", "task_fn",
     "task_started", "task_must_cancel", "task_parked_ns"),
    ("I", "wait_cls", "wait_woken", "wait_class_what", "wait_class_shows", "wait_class_at", "wait_class_then"),
    ("I", "coro_sp", "coro_stack", "coro_resumer", "coro_stack_low", "coro_stack_high"),
    ("i", "coro_saved_fp", "coro_saved_pc"),
    ("P", "entries", "entries_end"),
    ("I", "task_cancelling"), ("I", "class_also"), ("I", "future_result"), ("I", "future_loop"), ("I", "saved_n"),
    ("P", "saved"),
]
SHOWS = ["nothing", "fd", "when", "future", "owner", "pid", "object"]

# Names of include/coil/error.h, from -2001 down.
CODES = """EINVALIDSTATE EINCOMPLETE ELIMIT EQUEUEEMPTY EQUEUEFULL ESHUTDOWN EBROKENBARRIER ETLS EGAI EDEADLOCK EEXIT ETYPE
    ECLOSED ENOLOOP ENOTASK EWRONGLOOP EWRONGTHREAD ERUNNING ESTOPPED ESELFAWAIT EGROUP ETLSCERT ETLSEOF EINTERRUPTED
    EBROKENPOOL""".split()

LOOPS_MAX, TASKS_MAX, AWAITERS_MAX, HOPS_MAX = 4096, 4 << 20, 4096, 64


class Table:
    """One of the above, as it stands in the program. An older program's is shorter."""

    def __init__(self, form, at):
        names = [name for row in form for name in row[1:]]
        layout = "@" + "".join(row[0] * (len(row) - 1) for row in form)
        fields = dict(zip(names, struct.unpack(layout, read(at, struct.calcsize(layout)))))
        if fields["version"] != VERSION or fields["size"] < struct.calcsize(layout):
            raise gdb.GdbError("The program's coil is of another version: use the script of that version.")
        self.__dict__.update(fields)


# ---- memory ---------------------------------------------------------------------------------------------------

def read(at, n):
    return bytes(gdb.selected_inferior().read_memory(at, n))


def number(at, form="Q"):
    """0 where nothing can be read."""
    try:
        return struct.unpack("=" + form, read(at, struct.calcsize("=" + form)))[0]
    except (gdb.MemoryError, OverflowError):
        return 0


def text(at, most=256):
    """Up to its NUL; control characters become '?'."""
    got = b""
    try:
        while at and len(got) < most and b"\0" not in got:
            got += read(at + len(got), min(32 - (at + len(got)) % 32, most - len(got)))
    except (gdb.MemoryError, OverflowError):
        pass
    plain = got.split(b"\0")[0].decode(errors="replace")
    return "".join(c if c.isprintable() else "?" for c in plain)


class Links:
    """Each link of a list (base/list.h), as far as they lead back to where they came from."""

    def __init__(self, head, most):
        self.head, self.most, self.whole = head, most, False

    def __iter__(self):
        last, link = self.head, number(self.head)
        while link and link != self.head and self.most > 0 and number(link + 8) == last:
            yield link
            last, link, self.most = link, number(link), self.most - 1
        self.whole = link == self.head


def symbol(at):
    """The function at an address."""
    said = gdb.execute(f"info symbol {at:#x}", to_string=True)
    return f"{at:#x}" if said.startswith("No symbol") else said.split()[0]


# ---- where the tables are -------------------------------------------------------------------------------------

found = {}  # process -> addresses


def is_sight(at):
    try:
        return read(at, len(MAGIC)) == MAGIC and number(at + 16) == at
    except gdb.MemoryError:
        return False


def search(low, high):
    inferior = gdb.selected_inferior()
    while low < high:
        try:
            at = inferior.search_memory(low, high - low, MAGIC)
        except gdb.MemoryError:
            return
        if at is None:
            return
        if is_sight(at):
            yield at
        low = at + 8


def sights():
    """Every copy of coil in this process: a program may hold one, and a library of it another."""
    inferior = gdb.selected_inferior()
    if not inferior.pid:
        raise gdb.GdbError("The program is not being run.")
    key = (inferior.num, inferior.pid)
    if key not in found or not all(map(is_sight, found[key])):
        ranges = re.findall(r"(0x[0-9a-f]+) - (0x[0-9a-f]+) is (\S+)", gdb.execute("info files", to_string=True))
        # A core file without its program has segments alone.
        for kind in r"\.data", r"load\w*":
            # Of a program on another machine gdb lists everything twice.
            some = dict.fromkeys((int(low, 16), int(high, 16)) for low, high, name in ranges if re.fullmatch(kind, name))
            found[key] = [at for low, high in some for at in search(low, high)]
            if found[key]:
                break
        else:
            del found[key]
            raise gdb.GdbError("There is no coil in this program, or it has not begun.")
    return [Table(SIGHT, at) for at in found[key]]


# ---- loops and tasks ------------------------------------------------------------------------------------------

class Loop:
    def __init__(self, sight, at):
        self.at = at
        backend = number(at + sight.backend)
        self.backend = text(number(number(at + sight.backend_class) + sight.class_name), 32)
        self.running = number(at + sight.running, "B") != 0
        self.debug = number(at + sight.debug, "B") != 0
        self.is_virtual = number(at + sight.is_virtual, "B") != 0
        self.now_ns = number(at + sight.virtual_ns, "q") if self.is_virtual else now_ns()
        self.ready = number(at + sight.tail) - number(at + sight.head)
        self.timers = number(at + sight.timers_n, "I")
        self.jobs, self.wakers = number(at + sight.jobs), number(at + sight.wakers)
        self.signals = number(at + sight.signals) != at + sight.signals
        self.operations = number(backend + sight.backend_pending) if backend else 0
        self.descriptors = number(backend + sight.backend_fds) if backend else 0
        self.turns = number(at + sight.turns)
        self.tid = number(at + sight.thread_id, "i")
        self.part = number(at + sight.parts + 8 * sight.task_part)
        layout = number(self.part + sight.part_layout) if self.part else 0
        self.layout = Table(TASKS, layout) if layout else None  # None: no task was ever made
        self.current = number(self.part + self.layout.part_current) if self.layout else 0

    def tasks(self):
        if not self.layout:
            return
        walk = Links(self.part + self.layout.part_tasks, TASKS_MAX)
        for link in walk:
            yield Task(self, link - self.layout.future_all)
        if not walk.whole:
            print(f"The list of tasks of loop {self.at:#x} cannot be read to its end. Is it a core file that gdb wrote? "
                  "It leaves out what lies behind a guard page: use `coil core FILE`.")

    def names(self):
        """{number: name} of all tasks."""
        l, links = self.layout, Links(self.part + self.layout.part_tasks, TASKS_MAX)
        return {number(at + l.task_number): text(at + l.task_name)
                for at in (link - l.future_all for link in links)}

    def alive_by(self):
        """What can wake it, or keeps it busy."""
        some = [count(self.ready, "callback") + " ready" if self.ready else "",
                *(count(n, what) if n else "" for n, what in [
                    (self.timers, "timer"), (self.operations, "operation"), (self.jobs, "thread job"),
                    (self.wakers, "other waker")]), "signal handlers" if self.signals else ""]
        return [word for word in some if word]

    def title(self):
        return (f"thread {self.tid or '?'}{'' if self.running else ' (not running)'}, {self.backend}"
                f"{', debug mode' if self.debug else ''}{', virtual time' if self.is_virtual else ''}")


def now_ns():
    """None: a core file does not tell the time. A program on another machine has another clock."""
    connection = gdb.selected_inferior().connection
    return time.monotonic_ns() if connection and connection.type == "native" else None


def code_words(code):
    """-ENOENT, COIL_ELIMIT; else the number."""
    if -2000 - len(CODES) <= code <= -2001:
        return "COIL_" + CODES[-2001 - code]
    return "-" + errno.errorcode[-code] if -code in errno.errorcode else str(code)


def count(n, what):
    return f"{n} {what}{'' if n == 1 else 's'}"


class Future:
    """Any future; a task, too."""

    def __init__(self, layout, at):
        self.layout, self.at = layout, at
        self.is_task = number(at + layout.future_is_task, "B") != 0
        self.done = ("pending", "cancelled", "finished", "?")[min(number(at + layout.future_state, "B"), 3)]
        self.file, self.line = text(number(at + layout.future_file)), number(at + layout.future_line, "I")
        self.result = number(at + layout.future_result, "q")
        self.name = text(at + layout.task_name) if self.is_task else ""

    def words(self):
        return self.name if self.is_task else f"made at {self.file or '?'}:{self.line}"

    def end(self):
        """What became of it."""
        return f"finished with {code_words(self.result)}" if self.done == "finished" else self.done

    def waiters(self, hops=0):
        """Addresses of the tasks that await it, also through futures that are no tasks."""
        l = self.layout
        for link in Links(self.at + l.future_callbacks, AWAITERS_MAX):
            by = number(link - l.future_callback_link + l.future_callback_by)
            if by and number(by + l.future_is_task, "B"):
                yield by
            elif by and hops < HOPS_MAX:
                yield from Future(l, by).waiters(hops + 1)


class Task(Future):
    def __init__(self, loop, at):
        super().__init__(loop.layout, at)
        l = self.layout
        self.loop = loop
        self.number = number(at + l.task_number)
        self.fn = number(at + l.task_fn)
        self.cancels = number(at + l.task_cancelling, "I")
        self.wait = number(at + l.task_waiting)
        if self.done != "pending":
            self.state = self.done
        elif at == loop.current:
            self.state = "running"
        elif not number(at + l.task_started, "B"):
            self.state = "new"
        elif not self.wait or number(self.wait + l.wait_woken, "B"):
            self.state = "ready"
        else:
            self.state = "waiting"

    def waits_for(self, owners=None):
        """"lock: held by Task-3"; what it did wait for, when it is ready. `owners`: number -> name."""
        if not self.wait or self.state not in ("waiting", "ready"):
            return ""
        l = self.layout
        cls = number(self.wait + l.wait_cls)
        there = self.wait + number(cls + l.wait_class_at, "H")
        also = number(cls + l.class_also)
        shows = number(cls + l.wait_class_shows, "B")
        detail = text(also) if also else ""
        if shows < len(SHOWS) and SHOWS[shows] != "nothing":
            shown = getattr(self, "_" + SHOWS[shows])(there, number(cls + l.wait_class_then, "h"), owners)
            detail = f"{detail} {shown}" if detail and SHOWS[shows] == "object" else shown
        what = text(number(cls + l.wait_class_what))
        return f"{what}: {detail}" if detail else what

    def _object(self, there, then, owners):
        """The lock, queue, event...: the variable that it is or stands in, or its address."""
        at = number(there) + then
        known = re.match(r"(.*) in section ", gdb.execute(f"info symbol {at}", to_string=True))
        return known.group(1) if known else hex(at)

    def _fd(self, there, then, owners):
        return f"fd {number(there, 'i')}"

    def _when(self, there, then, owners):
        when, now = number(there, "q"), self.loop.now_ns
        if when == (1 << 63) - 1:
            return "for ever"
        if now is None:
            return ""
        return f"{abs(when - now) / 1e9:.3f} s {'left' if when >= now else 'overdue'}"

    def _future(self, there, then, owners):
        return Future(self.layout, number(there)).words()

    def _owner(self, there, then, owners):
        holder = number(number(there) + then)
        if owners is None:
            owners = self.loop.names()
        return f"held by {owners.get(holder, 'a task that has ended')}" if holder else ""

    def _pid(self, there, then, owners):
        return f"pid {number(number(there) + then, 'i')}"

    def stacks(self):
        """The coroutines that it stands in, the innermost first: a generator, who drives it, the task's own."""
        l = self.layout
        co = number(self.at + l.task_leaf)
        for _ in range(HOPS_MAX):
            if not co:
                return
            yield co
            co = number(co + l.coro_resumer)


def all_loops():
    for sight in sights():
        for link in Links(sight.loops, LOOPS_MAX):
            yield Loop(sight, link - sight.link)


def some_loops():
    loops = list(all_loops())
    if not loops:
        raise gdb.GdbError("There is no loop.")
    return loops


def find_task(word):
    tasks = [task for loop in some_loops() for task in loop.tasks()]
    named = [task for task in tasks if task.name == word]
    if not named and word.isdecimal():
        named = [task for task in tasks if task.number == int(word)]
    if not named:
        try:
            at = int(gdb.parse_and_eval(word))
        except (gdb.error, ValueError):
            at = 0
        named = [task for task in tasks if task.at == at]
    if not named:
        raise gdb.GdbError(f"There is no task {word}; coil tasks lists them.")
    if len(named) > 1:
        raise gdb.GdbError(f"There is more than one: say {' or '.join(f'{task.at:#x}' for task in named)}.")
    return named[0]
