"""An asyncio loop on an imaginary clock: no descriptors, no waiting, turns that are counted."""

import asyncio
import heapq


class OrderedTimer(asyncio.TimerHandle):
    """asyncio leaves open which of two equal deadlines comes first; coil and this say: the one set first."""

    __slots__ = ("number",)
    numbers = 0

    def __init__(self, *args):
        super().__init__(*args)
        OrderedTimer.numbers += 1
        self.number = OrderedTimer.numbers

    def __lt__(self, other):
        return (self._when, self.number) < (other._when, other.number)


class Deadlock(Exception):
    """Nothing can happen any more."""


class Loop(asyncio.BaseEventLoop):
    """Time jumps to the next timer when nothing is ready."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.turns = 0
        self._clock_resolution = 1e-9
        self._selector = self

    def time(self):
        return self.now

    def select(self, timeout):
        if timeout is None:
            raise Deadlock
        if timeout > 0:
            self.now = max(self.now, self._scheduled[0]._when)
        return ()

    def call_at(self, when, callback, *args, context=None):
        timer = OrderedTimer(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def _process_events(self, events):
        pass

    def _write_to_self(self):
        pass

    def _run_once(self):
        self.turns += 1
        super()._run_once()
