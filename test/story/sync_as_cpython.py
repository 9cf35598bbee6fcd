#!/usr/bin/env python3
"""What CPython does with the scripts of sync_as_cpython.c: the same generator, run on asyncio.

    sync_as_cpython.py          the table for the C file: one number for every 16 scripts
    sync_as_cpython.py SEED     what happens in one script, turn by turn

Needs CPython 3.13 or newer: conditions, semaphores and queues changed there.
"""

import asyncio
import sys

SCRIPTS, BATCH = 1024, 16
MASK = (1 << 64) - 1

FAMILIES = [
    ["a", "a", "a y r", "r"],
    ["e", "s", "k"],
    ["ca", "cw", "ca cw cr", "ca cw cr", "ca cn cr", "cn", "cN", "cr", "ca y cr"],
    ["p", "p y v", "v", "p"],
    ["b", "b", "x", "z", "b", "b"],
    ["g", "u", "G", "U", "d", "j", "g", "u", "g", "u", "h", "H"],
]
WAITS = ["a", "e", "ca", "cw", "ca cw cr", "p", "b", "g", "u", "j", "y", "p", "a y r", "ca cn cr",
         "p y v", "ca cN cr"]
NOWS = ["r", "s", "k", "cr", "cn", "cN", "v", "G", "U", "d", "l", "v", "r", "s", "d"]
RARES = ["x", "z", "h", "H"]

WORDS = {
    asyncio.CancelledError: "cancelled", RuntimeError: "state", ValueError: "inval",
    asyncio.BrokenBarrierError: "broken", asyncio.QueueFull: "full", asyncio.QueueEmpty: "empty",
    asyncio.QueueShutDown: "shutdown",
}


class Random:
    """splitmix64, as base/random.h has it."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9e3779b97f4a7c15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xbf58476d1ce4e5b9) & MASK
        z = ((z ^ (z >> 27)) * 0x94d049bb133111eb) & MASK
        z ^= z >> 31
        return ((z >> 32) * n) >> 32

    def choice(self, options):
        return options[self.below(len(options))]


class Script:
    def __init__(self, seed):
        self.random = r = Random(seed)
        n = 2 + r.below(6)
        self.permits = r.below(3)
        self.bounded = r.below(10) < 3
        self.parties = 1 + r.below(3)
        self.maxsize = r.below(3)
        self.order = r.below(3)
        self.family = FAMILIES[r.below(len(FAMILIES))]
        self.n = n
        self.tasks = [self.make_task() for _ in range(n)]
        self.main = self.make_main()

    def now(self):
        if self.random.below(10) < 3:
            return f"X{self.random.below(self.n)}"
        return self.random.choice(NOWS)

    def make_task(self):
        r = self.random
        swallows = r.below(10) < 6
        steps = []
        for _ in range(1 + r.below(8)):
            x = r.below(100)
            if x < 50:
                phrase = r.choice(self.family)
            elif x < 70:
                phrase = r.choice(WAITS)
            elif x < 78:
                phrase = "n" + self.now()
            elif x < 82:
                phrase = r.choice(RARES)
            elif x < 88:
                phrase = "y"
            else:
                phrase = self.now()
            steps += phrase.split()
        return swallows, steps

    def make_main(self):
        r = self.random
        steps = []
        for _ in range(r.below(26)):
            x = r.below(100)
            if x < 45:
                phrase = "y"
            elif x < 55:
                phrase = "n" + self.now()
            elif x < 75:
                phrase = r.choice(self.family)
            else:
                phrase = self.now()
            steps += [step for step in phrase.split() if step in NOWS or step[0] in "nXy"]
        return steps


class Play:
    """One script on asyncio, and the trace of it."""

    def __init__(self, script):
        self.script = script
        self.trace = []
        self.turn = 0
        self.items = 0

    def tell(self, who, *words):
        self.trace.append(" ".join([str(self.turn), who, *words]) + "\n")

    def put_nowait(self):
        self.items += 1
        self.queue.put_nowait(self.items)

    async def put(self):
        self.items += 1
        await self.queue.put(self.items)

    def look(self):
        return (f"L{self.lock.locked():d} E{self.event.is_set():d} C{self.condition.locked():d} "
                f"S{self.semaphore.locked():d} B{self.barrier.n_waiting}{self.barrier.broken:d} "
                f"Q{self.queue.qsize()}")

    def do_now(self, who, step):
        """A step that does not wait; False if it is none."""
        try:
            if step[0] == "X":
                said = self.tasks[int(step[1:])].cancel()
                said = "1" if said else "0"
            elif step[0] == "n":
                said = asyncio.get_running_loop().call_soon(self.do_now, who + "!", step[1:]) and None
            elif step in self.nows:
                said = self.nows[step]()
            else:
                return False
            said = "ok" if said is None else str(said)
        except Exception as error:
            said = WORDS[type(error)]
        self.tell(who, step, said)
        return True

    async def do_wait(self, who, step):
        if step != "y":
            self.tell(who, step, "...")
        try:
            said = await self.waits[step]()
            said = str(said) if step in "bg" else "ok"
        except (Exception, asyncio.CancelledError) as error:
            said = WORDS[type(error)]
        self.tell(who, step, said)
        return said

    async def task(self, number, swallows, steps):
        who = f"t{number}"
        for step in steps:
            if not self.do_now(who, step):
                said = await self.do_wait(who, step)
                if said == "cancelled" and not swallows:
                    self.tell(who, "ends")
                    raise asyncio.CancelledError
        self.tell(who, "returns")

    def count_turns(self):
        loop = asyncio.get_running_loop()
        run_once = loop._run_once

        def counting():
            self.turn += 1
            run_once()

        loop._run_once = counting

    async def main(self):
        script = self.script
        self.count_turns()
        await asyncio.sleep(0)
        self.turn = 0
        self.lock = asyncio.Lock()
        self.event = asyncio.Event()
        self.condition = asyncio.Condition()
        semaphore = asyncio.BoundedSemaphore if script.bounded else asyncio.Semaphore
        self.semaphore = semaphore(script.permits)
        self.barrier = asyncio.Barrier(script.parties)
        orders = [asyncio.Queue, asyncio.LifoQueue, asyncio.PriorityQueue]
        self.queue = orders[script.order](script.maxsize)
        self.nows = {
            "r": self.lock.release, "s": self.event.set, "k": self.event.clear,
            "cr": self.condition.release, "cn": self.condition.notify,
            "cN": self.condition.notify_all, "v": self.semaphore.release,
            "G": self.queue.get_nowait, "U": self.put_nowait, "d": self.queue.task_done,
            "h": self.queue.shutdown, "H": lambda: self.queue.shutdown(immediate=True),
            "l": self.look,
        }
        self.waits = {
            "y": lambda: asyncio.sleep(0), "a": self.lock.acquire, "e": self.event.wait,
            "ca": self.condition.acquire, "cw": self.condition.wait, "p": self.semaphore.acquire,
            "b": self.barrier.wait, "x": self.barrier.reset, "z": self.barrier.abort,
            "g": self.queue.get, "u": self.put, "j": self.queue.join,
        }
        self.tasks = [asyncio.create_task(self.task(number, *task))
                      for number, task in enumerate(script.tasks)]
        for step in script.main:
            if step == "y":
                await asyncio.sleep(0)
            else:
                self.do_now("m", step)
        await asyncio.sleep(0)
        while not all(task.done() for task in self.tasks):
            for number, task in enumerate(self.tasks):
                if not task.done():
                    self.do_now("m", f"X{number}")
            if self.lock.locked():
                self.do_now("m", "r")
            if self.condition.locked():
                self.do_now("m", "cr")
            self.do_now("m", "v")
            await asyncio.sleep(0)
        self.do_now("m", "l")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.gather(*self.tasks, return_exceptions=True)


def trace_of(seed):
    play = Play(Script(seed))
    asyncio.run(play.main())
    return "".join(play.trace)


def fnv1a(text, digest):
    for byte in text.encode():
        digest = ((digest ^ byte) * 0x100000001b3) & MASK
    return digest


def main():
    if sys.version_info < (3, 13):
        sys.exit("sync_as_cpython.py: needs CPython 3.13 or newer")
    if len(sys.argv) > 1:
        print(trace_of(int(sys.argv[1])), end="")
        return
    numbers = []
    for first in range(0, SCRIPTS, BATCH):
        digest = 0xcbf29ce484222325
        for seed in range(first, first + BATCH):
            digest = fnv1a(trace_of(seed), digest)
        numbers.append(f"0x{digest:016x},")
    for i in range(0, len(numbers), 4):
        print("    " + " ".join(numbers[i:i + 4]))


if __name__ == "__main__":
    main()
