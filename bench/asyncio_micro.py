"""The peer of coil_micro.c on asyncio or uvloop: asyncio_micro.py asyncio|uvloop MODE N"""
import asyncio
import json
import os
import sys
import time

MODE, N = sys.argv[2], int(sys.argv[3])
if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.install()

begun = spent = None  # (CPU, clock), in nanoseconds


def start():
    global begun, spent
    begun, spent = (time.process_time_ns(), time.perf_counter_ns()), None


def stop():
    global spent
    if spent is None:
        spent = time.process_time_ns() - begun[0], time.perf_counter_ns() - begun[1]


def ignore(*_):
    pass


async def nothing():
    pass


# ---- tasks ----


async def yields(tasks):
    async def one():
        for _ in range(N // tasks):
            await asyncio.sleep(0)

    await asyncio.gather(*(one() for _ in range(tasks)))


async def spawn():
    for _ in range(N):
        await asyncio.create_task(nothing())


async def batches(wait):
    for _ in range(0, N, 1000):
        await wait([asyncio.create_task(nothing()) for _ in range(1000)])


async def each(tasks):
    for task in tasks:
        await task


async def gather(tasks):
    await asyncio.gather(*tasks)


async def group():
    for _ in range(0, N, 1000):
        async with asyncio.TaskGroup() as g:
            for _ in range(1000):
                g.create_task(nothing())


def status(*names):
    with open("/proc/self/status") as f:
        return sum(int(line.split()[1]) * 1024 for line in f if line.split(":")[0] in names)


def mappings():
    with open("/proc/self/maps") as f:
        return sum(1 for _ in f)


async def parked():
    before, had = status("VmRSS", "VmPTE"), mappings()
    tasks = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(N)]
    await asyncio.sleep(0)
    taken = status("VmRSS", "VmPTE") - before
    stop()
    tell(bytes=taken / len(tasks), mappings=mappings() - had)
    sys.stdout.flush()
    os._exit(0)


# ---- what two tasks hand to each other ----


async def queue(room):
    items = asyncio.Queue(room)

    async def put():
        for i in range(N):
            await items.put(i)

    async def get():
        for _ in range(N):
            await items.get()

    await asyncio.gather(put(), get())


async def hand_over(thing):
    async def again():
        await thing.acquire()
        await asyncio.sleep(0)
        for _ in range(N // 2):
            thing.release()
            await thing.acquire()
        thing.release()

    await asyncio.gather(again(), again())


# ---- callbacks and timers ----


async def call_soon():
    loop = asyncio.get_running_loop()
    for _ in range(0, N, 1000):
        for _ in range(1000):
            loop.call_soon(ignore)
        await asyncio.sleep(0)


async def timer_pair():
    loop = asyncio.get_running_loop()
    for _ in range(N):
        loop.call_later(1000, ignore).cancel()


async def timers(measured):
    loop = asyncio.get_running_loop()
    start()
    handles = [loop.call_later(1000 + i * 7919 % N * 1e-6, ignore) for i in range(N)]
    stop() if measured == "insert" else start()
    for handle in handles:
        handle.cancel()
    stop()


async def expire():
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    left = N

    def fired():
        nonlocal left
        left -= 1
        if left == 0:
            over.set_result(None)

    for i in range(N):
        loop.call_later(i * 7919 % N * 1e-9, fired)
    await over


MODES = {
    "switch2": lambda: yields(2), "switch1000": lambda: yields(1000), "spawn": spawn, "spawn_batch": lambda: batches(each),
    "gather": lambda: batches(gather), "group": group, "parked": parked, "queue": lambda: queue(128),
    "queue_one": lambda: queue(1), "lock": lambda: hand_over(asyncio.Lock()),
    "semaphore": lambda: hand_over(asyncio.Semaphore(1)), "call_soon": call_soon, "timer_pair": timer_pair,
    "timer_insert": lambda: timers("insert"), "timer_cancel": lambda: timers("cancel"), "timer_expire": expire,
}


def tell(**more):
    print(json.dumps({"ns": round(spent[0] / N, 3), "wall_ns": round(spent[1] / N, 3), **more}))


async def main():
    start()
    await MODES[MODE]()
    stop()

asyncio.run(main())
tell()
