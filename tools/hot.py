#!/usr/bin/env python3
"""No atomic stands on the path of one loop alone: looked up in the instructions.

    tools/hot.py libcoil.so

What several threads share costs some twenty cycles a touch, also where nobody shares it. So the functions below, which every
switch, spawn, wake-up, timer and byte goes through, must have no locked instruction. Prints `function: instruction` for each
that is found, and names that the library does not have; exits 1 if there was any.
"""

import re
import subprocess
import sys

# Each with what it is for. Parts that the compiler cut off (f.cold, f.part.0) count as the function.
HOT = {
    "coil__switch": "from one stack to another",
    "task_step": "a task goes on",
    "next_up": "a task that parks hands over to the next",
    "coil__park_task": "a task stops",
    "coil__wake": "a task is put on the ready ring",
    "coil__yield": "one turn given up",
    "coil_sleep": "a timer and a stop",
    "coil_create_task_at": "a task is made",
    "coil__task_make": "a task is made",
    "coil__stack_get": "its stack",
    "coil__stack_put": "its stack goes back",
    "coil_await_future": "waiting for a result",
    "coil_future_set_result": "a result comes",
    "coil__future_finish": "those who wait are told",
    "coil_unref": "a future goes",
    "coil_loop_call_soon": "a callback is queued",
    "coil__loop_collect": "a turn begins: what came, what is due",
    "coil__loop_dispatch": "a turn's batch runs",
    "coil__loop_next_batch": "a batch follows without a look",
    "coil__timer_start": "a timer begins",
    "coil__timer_stop": "a timer is called off",
    "coil__timers_fire": "timers that are due",
    "coil__heap_push": "their order",
    "coil_lock_acquire": "a lock of one loop is no lock of threads",
    "coil_lock_release": "the same",
    "coil_event_set": "an event",
    "coil_event_wait": "an event",
    "coil_semaphore_acquire": "a semaphore",
    "coil_queue_put": "an item goes into a queue",
    "coil_queue_get": "an item comes out",
    "coil_sock_recv": "bytes come",
    "coil_sock_send": "bytes go",
    "coil_reader_read": "bytes come through a stream",
    "coil_writer_write": "bytes go through a stream",
    "coil_writer_drain": "a stream's marks",
    "coil__readiness_event": "a descriptor is ready",
    "epoll_wait_ops": "epoll's wait",
    "uring_submit": "a request to io_uring",
    "take_completions": "io_uring's answers",
}

FUNCTION = re.compile(r"^[0-9a-f]+ <([^>]+)>:")
# x86: a lock prefix, or xchg with memory, which needs none. aarch64: exclusive and atomic accesses. (Plain loads and
# stores with an order, as io_uring's ring has them, are not exclusive and cost nothing on x86.)
LOCKED = re.compile(r"\block\b|\bxchg\w*\s+.*\(|\b(ldaxr|ldxr|stlxr|stxr|ldadd\w*|swp\w*|cas[alb]*|ldset\w*|ldclr\w*)\b")


def locked_instructions(listing):
    """The functions of a disassembly: {name: [its locked instructions]}."""
    found, here = {}, None
    for line in listing.splitlines():
        match = FUNCTION.match(line)
        if match:
            here = found.setdefault(match[1].split(".")[0], [])
        elif here is not None and LOCKED.search(line):
            here.append(" ".join(line.split(":", 1)[-1].split()))
    return found


def findings(listing, hot=None):
    hot = HOT if hot is None else hot
    found = locked_instructions(listing)
    for name, purpose in hot.items():
        if name not in found:
            yield f"{name}: the library has no such function ({purpose}): the list in tools/hot.py is old"
        for instruction in found.get(name, []):
            yield f"{name}: {instruction} ({purpose})"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", sys.argv[1]], check=True, capture_output=True,
                             text=True).stdout
    all_found = list(findings(listing))
    for sentence in all_found:
        print(sentence)
    if not all_found:
        print(f"hot: no atomic in {len(HOT)} functions")
    return 1 if all_found else 0


if __name__ == "__main__":
    sys.exit(main())
