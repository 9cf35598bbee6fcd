"""Plays scripts of the differential runner on asyncio: what CPython does is what is right.

The twin of play.c, line by line: a change here is a change there. script.h tells the language, play.h the trace.
"""

import asyncio
import gc
import sys
import warnings

import virtual
from script import BLOCKS as NESTED, Statement

TASKS, FUTURES, SLOTS, ROUNDS, FOR_ALL = 8, 4, 4, 30, 100
SIZES = {"L": 2, "C": 2, "E": 2, "S": 2, "B": 1, "Q": 2}

WAIT_WHEN = {"wait": asyncio.ALL_COMPLETED, "wait_first": asyncio.FIRST_COMPLETED,
             "wait_exception": asyncio.FIRST_EXCEPTION}
# Where the futures begin among the arguments of a statement that waits for them.
FUTURES_AT = {"await": 0, "shield": 0, "gather": 0, "gather_all": 0, "wait_for": 1, "wait": 1,
              "wait_first": 1, "wait_exception": 1, "as_completed": 2}
PASS_CANCEL_ON = {"await", "wait_for", "gather", "gather_all"}
WAITS = {"turn", "sleep", "await_self", "call", "acquire", "wait_event", "wait_condition", "wait_count",
         "wait_barrier", "reset_barrier", "abort_barrier", "put", "get", "join", *FUTURES_AT}
ENDS = {"return", "raise", "raise_cancelled"}


warnings.simplefilter("ignore", RuntimeWarning)  # coroutines that were never awaited, also on purpose
sys.unraisablehook = lambda _: None  # what coroutines say that end with their loop


class UserError(Exception):
    pass


def code(error):
    """The word for an error; of a group's, for the first of all."""
    if isinstance(error, BaseExceptionGroup):
        return code(error.exceptions[0])
    if isinstance(error, UserError):
        return f"e{error.args[0]}"
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    if isinstance(error, asyncio.InvalidStateError):
        return "state"
    if isinstance(error, RuntimeError):
        return "self" if str(error).startswith("Task cannot await on itself") else (
            "broken" if isinstance(error, asyncio.BrokenBarrierError) else "state")
    for kind, word in WORDS:
        if isinstance(error, kind):
            return word
    raise error


WORDS = [(TimeoutError, "timeout"), (asyncio.TimeoutError, "timeout"), (ValueError, "value"),
         (asyncio.QueueFull, "full"), (asyncio.QueueEmpty, "empty"),
         (getattr(asyncio, "QueueShutDown", ()), "shutdown")]


def record(error):
    """The same with all of a group's errors."""
    if isinstance(error, BaseExceptionGroup):
        return "(" + " ".join(map(record, error.exceptions)) + ")"
    return code(error)


def value(result):
    if isinstance(result, BaseException):
        return code(result)
    if isinstance(result, list):
        return "[" + " ".join(map(value, result)) + "]"
    return "ok" if result is None else str(result)


def bracket(thing):
    text = repr(thing)
    return text[text.rindex("["):text.rindex("]") + 1]


def pending(futures):
    """Who really waits: whoever was cancelled stays in asyncio's list until its task runs."""
    return sum(not future.done() for future in futures)


class InOrder(dict):
    """A set that is walked in order of arrival."""

    def add(self, item):
        self[item] = None

    def discard(self, item):
        self.pop(item, None)


class TaskGroup(asyncio.TaskGroup):
    """asyncio cancels the children in an order nobody promised (a set's); coil and this in order of creation."""

    def __init__(self):
        super().__init__()
        self._tasks = InOrder()


def shield(inner):
    """3.14's: an inner future whose outer one is gone keeps one callback, which takes a turn."""
    outer = asyncio.shield(inner)
    if outer is not inner and sys.version_info < (3, 14):
        def outer_is_done(_):
            if not inner.done():
                inner.add_done_callback(lambda _: None)

        outer.add_done_callback(outer_is_done)
    return outer


def first_of_group(error):
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class Call:
    """A statement for call_soon and call_later."""

    def __init__(self, play, who, statement):
        self.play, self.who, self.statement = play, who, statement
        self.ran = False

    def __call__(self):
        self.ran = True
        self.play.play_now("!", self.who, self.statement)


class Play:
    def __init__(self, script, loop):
        self.script = script
        self.loop = loop
        self.trace = []
        self.over = False

    # ---- the trace ----

    def owner_slot(self, arg):
        return arg if arg[0] == "L" else "C0" if arg == "C0" else "L0"

    def state(self, arg):
        thing = self.things[arg]
        if arg[0] == "Q":
            return (f" {arg}[maxsize={thing.maxsize}, items:{thing.qsize()}, getters:{pending(thing._getters)}, "
                    f"putters:{pending(thing._putters)}, tasks:{thing._unfinished_tasks}"
                    f"{', shutdown' if getattr(thing, '_is_shutdown', False) else ''}]")
        text = f" {arg}{bracket(thing)}"
        if arg[0] in "LC" and self.owner.get(self.owner_slot(arg)) is not None:
            text += f" by t{self.owner[self.owner_slot(arg)]}"
        return text

    def tell(self, sign, who, what, outcome, args=()):
        if self.over:
            return
        name = "m" if who is None else f"t{who}"
        line = f"{self.loop.turns - self.first_turn}@{4 * (self.loop.time() - self.began):g} {sign}{name} {what}{outcome}"
        current = asyncio.current_task(self.loop)
        if current and current.cancelling():
            line += f" c{current.cancelling()}"
        for arg in args:
            if arg in self.things:
                line += self.state(arg)
        self.trace.append(line + "\n")

    def tell_statement(self, sign, who, s, outcome=None):
        self.tell(sign, who, s.text(), " ..." if outcome is None else f" = {outcome}", s.words[1:])

    # ---- what arguments stand for ----

    def future(self, arg):
        if arg[0] == "t":
            return self.tasks[int(arg[1:])]
        return self.futures[int(arg[1:])] if arg[0] == "f" else self.slots[int(arg[1:])]

    def level(self, arg):
        if arg[0] == "t":
            return int(arg[1:])
        return self.slot_levels[int(arg[1:])] if arg[0] == "a" else FOR_ALL

    def refs(self, args):
        """The futures, None if one is missing, and the lowest task that a cancel of them reaches."""
        futures = [self.future(arg) for arg in args]
        return (None if None in futures else futures), min([FOR_ALL] + [self.level(arg) for arg in args])

    def seconds(self, arg):
        return None if arg == "-" else int(arg) / 4

    # ---- tasks ----

    async def body(self, me):
        self.tell("", me, "begins", "")
        try:
            result = await self.block(me, self.script.bodies[me]) or 50 + me
        except (Exception, asyncio.CancelledError) as error:
            self.tell("", me, "ends", f" = {record(error)}")
            raise
        self.tell("", me, "ends", f" = {result}")
        return result

    def free(self, n):
        return n < len(self.script.bodies) and not self.used[n]

    def spawn(self, n, eager=False):
        if not self.free(n):
            return "-"
        self.used[n] = True
        if eager:
            self.tasks[n] = asyncio.Task(self.body(n), loop=self.loop, eager_start=True)
        else:
            self.tasks[n] = self.loop.create_task(self.body(n))
        return "ok"

    def spawn_child(self, group, n):
        if group is None or not self.free(n):
            return "-"
        coro = self.body(n)
        try:
            self.tasks[n] = group.create_task(coro)
        except RuntimeError:
            coro.close()
            return "refused"
        self.used[n] = True
        return "ok"

    # ---- statements that do not wait ----

    def peek(self, arg):
        future = self.future(arg)
        if future is None:
            return "-"
        if not future.done():
            text = "pending"
        elif future.cancelled():
            text = "cancelled"
        else:
            text = record(future.exception()) if future.exception() else value(future.result())
        return text + (f" c{future.cancelling()}" if isinstance(future, asyncio.Task) else "")

    def look(self):
        return "".join(self.state(f"{letter}{i}") for letter, n in SIZES.items() for i in range(n)) \
            + f" count:{self.counter}"

    def release(self, arg):
        self.things[arg].release()
        if arg[0] in "LC":
            self.owner[self.owner_slot(arg)] = None

    def set_slot(self, n, future, level):
        self.slots[n], self.slot_levels[n] = future, level
        self.kept.append(future)

    def count(self):
        self.counter += 1
        return self.counter

    def do_now(self, who, s):
        op, *args = s.words
        n = int(args[0][1:]) if args and args[0][0].isalpha() else None
        thing = self.things.get(args[0]) if args else None
        if op in ("spawn", "spawn_eager"):
            return self.spawn(n, op == "spawn_eager")
        if op == "child":
            return self.spawn_child(self.groups[n], int(args[1][1:]))
        if op == "cancel":
            future = self.future(args[0])
            return "-" if future is None else int(future.cancel())
        if op == "cancel_with":
            future = self.future(args[0])
            return "-" if future is None else int(future.cancel(f"m{int(args[1]) % 4}"))
        if op == "uncancel":
            return "-" if self.tasks[n] is None else self.tasks[n].uncancel()
        if op == "peek":
            return self.peek(args[0])
        if op == "set":
            return self.futures[n].set_result(int(args[1]))
        if op == "fail":
            return self.futures[n].set_exception(UserError(int(args[1])))
        if op == "renew":
            if not self.futures[n].done():
                return "-"
            self.futures[n] = self.loop.create_future()
            self.kept.append(self.futures[n])
            return None
        if op in ("gather_future", "gather_future_all"):
            futures, level = self.refs(args[1:])
            if futures is None:
                return "-"
            self.set_slot(n, asyncio.gather(*futures, return_exceptions=op == "gather_future_all"), level)
            return None
        if op == "shield_future":
            futures, level = self.refs(args[1:])
            if futures is None:
                return "-"
            self.set_slot(n, shield(futures[0]), level if futures[0].done() else FOR_ALL)
            return None
        if op == "callback":
            future = self.future(args[1])
            if future is None:
                return "-"
            fn = lambda _, called=s.called: self.play_now("!", who, called)
            self.callbacks[n] = future, fn
            return future.add_done_callback(fn)
        if op in ("callback_again", "callback_remove"):
            if self.callbacks[n] is None:
                return "-"
            future, fn = self.callbacks[n]
            return future.add_done_callback(fn) if op == "callback_again" else future.remove_done_callback(fn)
        if op == "soon":
            call = Call(self, who, s.called)
            self.handles[n] = self.loop.call_soon(call), call
            return None
        if op == "later":
            call = Call(self, who, s.called)
            self.handles[n] = self.loop.call_later(self.seconds(args[1]), call), call
            return None
        if op == "cancel_handle":
            if self.handles[n] is None:
                return "-"
            handle, call = self.handles[n]
            was = handle.cancelled()
            handle.cancel()
            # Difference 43: one that ran was not cancelled, whatever is asked of its handle later.
            return int(was and not call.ran)
        if op == "release":
            return self.release(args[0])
        if op == "set_event":
            thing.set()
            return None
        if op == "clear_event":
            return thing.clear()
        if op == "notify":
            return thing.notify(int(args[1]))
        if op == "notify_all":
            return thing.notify_all()
        if op == "count":
            return self.count()
        if op == "put_nowait":
            return thing.put_nowait(int(args[1]))
        if op == "get_nowait":
            return thing.get_nowait()
        if op == "task_done":
            return thing.task_done()
        if op == "shutdown":
            return thing.shutdown()
        if op == "shutdown_now":
            return thing.shutdown(immediate=True)
        if op == "reschedule":
            if self.timeouts[n] is None:
                return "-"
            delay = self.seconds(args[1])
            return self.timeouts[n].reschedule(None if delay is None else self.loop.time() + delay)
        if op == "look":
            return self.look()
        raise ValueError(op)

    def play_now(self, sign, who, s):
        if self.over:
            return None
        error = None
        try:
            outcome = value(self.do_now(who, s))
        except Exception as e:
            error, outcome = e, record(e)
        self.tell_statement(sign, who, s, outcome)
        return error

    # ---- statements that wait ----

    async def acquire(self, me, arg):
        await self.things[arg].acquire()
        if arg[0] in "LC":
            self.owner[self.owner_slot(arg)] = me

    async def wait_condition(self, me, condition, arg, count=None):
        """While it waits it does not own the lock; afterwards it does, if anybody does."""
        wait = condition.wait() if count is None else condition.wait_for(lambda: self.counter >= count)
        if not condition.locked() or (count is not None and self.counter >= count):
            await wait
            return
        self.owner[self.owner_slot(arg)] = None
        try:
            await wait
        finally:
            self.owner[self.owner_slot(arg)] = me

    async def as_completed(self, me, taken_max, timeout, futures):
        ready = self.loop._ready
        before = len(ready)
        it = aiter(asyncio.as_completed(futures, timeout=timeout))
        # Those that are done already come in an order nobody promised (a set's); in coil and here in that of the
        # arguments.
        queued = sorted((ready.pop() for _ in range(len(ready) - before)),
                        key=lambda handle: futures.index(handle._args[0]))
        ready.extend(queued)
        try:
            return await self.take(me, it, taken_max, futures)
        finally:
            # Difference 42: coil's is closed, asyncio's keeps its timer and its callbacks.
            if it._timeout_handle:
                it._timeout_handle.cancel()
            for future in it._todo:
                future.remove_done_callback(it._handle_completion)

    async def take(self, me, it, taken_max, futures):
        for _ in range(taken_max):
            try:
                future = await anext(it)
            except StopAsyncIteration:
                return "no more ok"
            outcome = "cancelled" if future.cancelled() else (
                record(future.exception()) if future.exception() else value(future.result()))
            self.tell("", me, "as_completed", f" next {futures.index(future)}: {outcome}")
        return None

    async def do_wait(self, me, s, futures):
        op, *args = s.words
        thing = self.things.get(args[0]) if args else None
        if op == "turn":
            return await asyncio.sleep(0)
        if op == "sleep":
            return await asyncio.sleep(self.seconds(args[0]))
        if op == "await":
            return await futures[0]
        if op == "await_self":
            # Difference 41: coil refuses what cannot work at once, asyncio a turn later.
            raise RuntimeError("Task cannot await on itself")
        if op == "call":
            self.used[int(args[0][1:])] = True
            return await self.block(me, self.script.bodies[int(args[0][1:])])
        if op == "acquire":
            return await self.acquire(me, args[0])
        if op == "wait_event":
            await thing.wait()
            return None
        if op == "wait_condition":
            return await self.wait_condition(me, thing, args[0])
        if op == "wait_count":
            return await self.wait_condition(me, thing, args[0], int(args[1]))
        if op == "wait_barrier":
            return await thing.wait()
        if op == "reset_barrier":
            return await thing.reset()
        if op == "abort_barrier":
            return await thing.abort()
        if op == "put":
            return await thing.put(int(args[1]))
        if op == "get":
            return await thing.get()
        if op == "join":
            return await thing.join()
        if op in ("gather", "gather_all"):
            return await asyncio.gather(*futures, return_exceptions=op == "gather_all")
        if op == "shield":
            return await shield(futures[0])
        if op in WAIT_WHEN:
            done, _ = await asyncio.wait(futures, timeout=self.seconds(args[0]), return_when=WAIT_WHEN[op])
            return "done " + "".join(str(int(f in done)) for f in futures)
        if op == "wait_for":
            return await asyncio.wait_for(futures[0], self.seconds(args[0]))
        if op == "as_completed":
            return await self.as_completed(me, int(args[0]), self.seconds(args[1]), futures)
        raise ValueError(op)

    async def play_wait(self, me, s):
        op, *args = s.words
        futures, level = self.refs(args[FUTURES_AT[op]:]) if op in FUTURES_AT else ([], FOR_ALL)
        callee = int(args[0][1:]) if op == "call" else None
        if futures is None or (op in PASS_CANCEL_ON and level <= me) or (
                callee is not None and (callee <= me or not self.free(callee))):
            self.tell_statement("", me, s, "-")
            return
        self.tell_statement("", me, s)
        try:
            outcome = value(await self.do_wait(me, s, futures))
        except (Exception, asyncio.CancelledError) as error:
            outcome = record(error)
            # The words of the cancel that ended this wait. Those that come out of a future are not told: asyncio
            # drops them in places (difference 44).
            if op not in FUTURES_AT and op != "call" and outcome == "cancelled" and error.args:
                outcome += f":{error.args[0]}"
            self.tell_statement("", me, s, outcome)
            raise
        self.tell_statement("", me, s, outcome)

    # ---- statements with a block ----

    async def play_try(self, me, s):
        try:
            await self.block(me, s.inner)
        except (Exception, asyncio.CancelledError) as error:
            await self.block(me, s.other)
            # In C the record of a group does not outlive what fails after it.
            raise first_of_group(error) from None
        await self.block(me, s.other)

    async def play_with(self, me, s):
        await self.acquire(me, s.words[1])
        try:
            await self.block(me, s.inner)
        finally:
            self.release(s.words[1])

    async def do_nested(self, me, s):
        op, *args = s.words
        n = int(args[0][1:]) if args and args[0][0].isalpha() else None
        if op == "wait_for_call":
            await asyncio.wait_for(self.block(me, s.inner), self.seconds(args[0]))
        elif op == "timeout":
            self.timeouts[n] = asyncio.timeout(self.seconds(args[1]))
            async with self.timeouts[n]:
                await self.block(me, s.inner)
        elif op == "group":
            group = self.groups[n] = TaskGroup()
            async with group:
                await self.block(me, s.inner)
        elif op == "with":
            await self.play_with(me, s)
        elif op == "try":
            await self.play_try(me, s)
        else:
            for _ in range(int(args[0])):
                await self.block(me, s.inner)

    async def play_nested(self, me, s):
        self.tell_statement("", me, s)
        error = None
        try:
            await self.do_nested(me, s)
            outcome = "ok"
        except (Exception, asyncio.CancelledError) as e:
            error, outcome = e, record(e)
        if s.op == "timeout":
            outcome += f" expired:{int(self.timeouts[int(s.words[1][1:])].expired())}"
        self.tell_statement("", me, s, outcome)
        if error:
            raise error

    # ---- a script ----

    async def block(self, me, statements):
        for s in statements:
            if s.op in ENDS:
                self.tell_statement("", me, s, "")
                if s.op == "return":
                    return int(s.words[1])
                raise UserError(int(s.words[1])) if s.op == "raise" else asyncio.CancelledError
            if s.op in NESTED:
                play = self.play_nested
            elif s.op in WAITS:
                play = self.play_wait
            else:
                error = self.play_now("", me, s)
                if error and s.ends_block:
                    raise error
                continue
            try:
                await play(me, s)
            except (Exception, asyncio.CancelledError):
                if s.ends_block:
                    raise
        return 0

    def set_up(self):
        settings = self.script.settings
        self.tasks = [None] * TASKS
        self.used = [False] * TASKS
        self.futures = [self.loop.create_future() for _ in range(FUTURES)]
        self.slots = [None] * SLOTS
        self.slot_levels = [FOR_ALL] * SLOTS
        self.handles = [None] * SLOTS
        self.callbacks = [None] * SLOTS
        self.timeouts = [None] * 24
        self.groups = [None] * 24
        self.kept = list(self.futures)
        self.counter = 0
        self.owner = {}
        lock = asyncio.Lock()
        self.things = {
            "L0": lock, "L1": asyncio.Lock(), "C0": asyncio.Condition(), "C1": asyncio.Condition(lock),
            "E0": asyncio.Event(), "E1": asyncio.Event(), "S0": asyncio.Semaphore(int(settings["S0"])),
            "S1": asyncio.BoundedSemaphore(int(settings["S1"])), "B0": asyncio.Barrier(int(settings["B0"])),
        }
        for name in ("Q0", "Q1"):
            order, maxsize = settings[name].split(":")
            self.things[name] = {"fifo": asyncio.Queue, "lifo": asyncio.LifoQueue,
                                 "priority": asyncio.PriorityQueue}[order](int(maxsize))

    def left(self):
        return [n for n, task in enumerate(self.tasks) if task and not task.done()]

    def end_with(self, *words):
        self.play_now("", None, Statement(list(words)))

    async def main(self):
        self.first_turn = self.loop.turns
        self.began = self.loop.time()
        self.set_up()
        for n in range(int(self.script.settings["start"])):
            self.spawn(n)
        await asyncio.sleep(100)
        for _ in range(ROUNDS):
            if not self.left():
                break
            for n in self.left():
                self.end_with("cancel", f"t{n}")
            for name in ("L0", "L1", "C0"):
                if self.things[name].locked():
                    self.end_with("release", name)
            await asyncio.sleep(10)
        for n, task in enumerate(self.tasks):
            if task:
                self.end_with("peek", f"t{n}")
        for n in range(FUTURES):
            self.end_with("peek", f"f{n}")
        for n, slot in enumerate(self.slots):
            if slot is not None:
                self.end_with("peek", f"a{n}")
        self.end_with("look")
        self.over = True


def play(script):
    """The trace of one script."""
    loop = virtual.Loop()
    loop.set_exception_handler(lambda loop, context: None)
    asyncio.set_event_loop(loop)
    p = Play(script, loop)
    try:
        loop.run_until_complete(p.main())
    except virtual.Deadlock:
        p.trace.append("the run ended: COIL_EDEADLOCK\n")
    p.over = True
    loop.close()
    stuck = p.left()
    trace = "".join(p.trace)
    if stuck:
        # Their coroutines end here, not in the middle of another script.
        del p
        gc.collect()
    return trace
