"""The rows: what is measured, how much of it at a time, beside whom, and what is expected of coil.

A peer is a word of peers.py. `limit` is the participant that stands for what the kernel lets anybody reach.
"""
import dataclasses

from harness.measure import processors
from harness.targets import ahead, at_most, over, times
from harness.workers import note

MIB = 1 << 20


@dataclasses.dataclass
class Row:
    word: str
    title: str
    peers: list
    targets: list = dataclasses.field(default_factory=list)
    limit: str | None = None
    unit: str = "ns"
    rounds: float = 1  # times the rounds of the others; 0: one
    spin: bool = False  # also coil with a loop that spins before it sleeps


@dataclasses.dataclass
class Micro(Row):
    """Programs that measure themselves."""
    n: int = 1_000_000
    figure: str = "ns"  # or wall_ns: where waiting is what one pays
    beside: str | None = None  # another mode of coil's own, shown as "coil MODE"
    n_of: dict = dataclasses.field(default_factory=dict)  # how much of it, for peers that cannot do so much
    count: int = 16000  # operations whose system calls are counted; 0: they are not
    both_cores: bool = False


@dataclasses.dataclass
class Echo(Row):
    """Servers on core 0, the load on core 1."""
    unit: str = "us"
    transport: str = "tcp"
    connections: int = 50
    requests: int = 60000
    size: int = 64
    buffer: int = 4096
    kinds: tuple = ("sock", "stream", "protocol")
    messages: int = 1  # of which a request is made: the figure is of one
    fewer: int = 0  # also with so many connections: coil's as "coil KIND at FEWER"
    count: bool = True


@dataclasses.dataclass
class Growth(Row):
    """coil_micro with ever larger SIZE; the exponent is that of the whole with the number of things."""
    sizes: tuple = (100, 1000, 10_000, 100_000, 1_000_000)
    n: int = 1_000_000
    rounds: float = 0


@dataclasses.dataclass
class Datagrams(Row):
    unit: str = "us"
    connections: int = 50
    requests: int = 60000
    size: int = 64


@dataclasses.dataclass
class Tls(Row):
    unit: str = "us"
    connections: int = 50
    requests: int = 30000
    size: int = 64
    buffer: int = 16384
    fresh: bool = False  # a connection for each request


@dataclasses.dataclass
class Httpd(Row):
    unit: str = "us"
    pipelined: int = 1
    connections: int = 50
    size: int = 1024


@dataclasses.dataclass
class Workers(Row):
    """A server of coil's with one worker, and with more."""
    unit: str = "us"
    program: str = "echo"
    workers: tuple = (1, 2)
    connections: int = 1000  # the kernel shares them out by chance: of a few one worker would have many more
    requests: int = 60000
    size: int = 64

    @property
    def note(self):
        return note(max(self.workers), processors())


@dataclasses.dataclass
class Messages(Row):
    """bench_coil_workers: from one loop to another, one sender, one receiver that takes up to `batch` at a time."""
    figure: str = "wall_ns"
    millions: int = 5
    batch: int = 256
    mailboxes: tuple = (4096, 65536)


C_ECHO = ["epoll", "epoll_own", "uring", "uv", "ev"]
ALL_ECHO = C_ECHO + ["asio", "go", "tokio", "st", "asyncio", "asyncio_tuned", "uvloop"]
SWITCHERS = ["st", "go", "tokio", "asyncio", "uvloop"]
TIMERS = ["uv", "ev", "asio", "go", "asyncio"]


def echo_targets(connections):
    return [
        at_most(1.05, 1.02, of="raw epoll", subject="coil sock"),
        at_most(1.10, 1.05, of="raw epoll", subject="coil stream"),
        *ahead("libuv", "tokio", "Go", subject="coil sock"),
        *([at_most(0.1, 0.05, metric="calls", subject="coil sock, uring")] if connections == 50 else []),
    ]


WORKER_TARGETS = [at_most(1.05, of="coil 1 worker", subject="coil 2 workers"),
                  at_most(1.10, metric="uneven", subject="coil 2 workers")]
TLS_TARGETS = [at_most(1.10, 1.05, of="OpenSSL, a thread each", subject="coil stream")]

ROWS = [
    # ---- the engine ----
    Micro("switch2", "yield, 2 tasks", SWITCHERS, [at_most(4), times(6, "Go"), times(5, "tokio"), times(80, "asyncio")],
          n=4_000_000),
    Micro("switch1000", "yield, 1,000 tasks", SWITCHERS, [at_most(8), times(6, "Go"), times(5, "tokio"), times(80, "asyncio")],
          n=4_000_000),
    Micro("deep2", "yield below three frames of the user's, 2 tasks", [], [at_most(6)], n=4_000_000),
    Micro("deep1000", "yield below three frames of the user's, 1,000 tasks", [], [at_most(12)], n=4_000_000),
    Micro("spawn", "spawn and join, one by one", SWITCHERS, [at_most(20, 12), times(6, "Go")], n=500_000),
    Micro("spawn_batch", "spawn and join, 1,000 at a time", SWITCHERS, [at_most(20, 12), times(6, "Go")], n=500_000),
    Micro("await_done", "await of something finished", [], [at_most(3)], n=5_000_000),
    Micro("parked", "1,000,000 parked tasks, asleep on timers", ["st", "go", "asyncio"],
          [at_most(4500, 4300, metric="bytes"), at_most(4, metric="mappings")], rounds=0, count=0,
          n_of={"st": 20_000, "asyncio": 200_000}),
    Micro("timer_insert", "timers, 1,000,000: set", TIMERS, [at_most(20), times(3, "libuv")], n_of={"asyncio": 300_000}),
    Micro("timer_cancel", "timers, 1,000,000: cancelled", TIMERS, [at_most(25), times(10, "libuv")],
          n_of={"asyncio": 300_000}),
    Micro("timer_expire", "timers, 1,000,000: set and fired", TIMERS, [at_most(150), times(7, "libuv")],
          n_of={"asyncio": 300_000}),
    Micro("timer_pair", "timer set and cancelled, few live", TIMERS),
    Micro("call_soon", "call_soon and its run", ["uv", "ev", "asio", "asyncio", "uvloop"], [at_most(3)], n=5_000_000),
    Micro("idle", "a turn with nothing to do", ["raw", "uv", "ev"], [at_most(130)], limit="the bare call"),
    Micro("queue", "queue of 128: put and get, 2 tasks", ["go", "asyncio"], [at_most(15), times(5, "Go")]),
    Micro("queue_one", "queue of 1: put and get, 2 tasks", ["go", "asyncio"], [at_most(15), times(5, "Go")]),
    Micro("lock", "lock handed over, 2 tasks", ["go", "asyncio"], [at_most(15), times(5, "Go")]),
    Micro("semaphore", "semaphore handed over, 2 tasks", ["go", "asyncio"], [at_most(15), times(5, "Go")]),
    Micro("gather", "gather of 1,000, for each child", ["asyncio"], [over(40, "coil spawn_batch")], n=500_000,
          beside="spawn_batch"),
    Micro("group", "group of 1,000, for each child", ["asyncio"], [over(40, "coil spawn_batch")], n=500_000,
          beside="spawn_batch"),
    # ---- threads, files, children ----
    Micro("wake", "woken by another thread: there and back", ["raw", "uv", "ev"],
          [at_most(1.1, of="libuv"), at_most(300, subject="coil spinning")],
          limit="the bare call", n=5000, figure="wall_ns", both_cores=True, count=4000, spin=True),
    Micro("executor", "run_in_executor, one at a time", ["uv"],
          [at_most(1.0, of="libuv"), at_most(2000, subject="coil spinning")], n=10_000, figure="wall_ns",
          both_cores=True, count=4000, spin=True),
    Micro("executor64", "run_in_executor, 64 at a time", ["uv"], [at_most(500, 250)], n=128_000, figure="wall_ns",
          both_cores=True),
    Micro("file_read", "file, 4 KiB from memory", ["raw", "uv"], [at_most(800), times(30, "libuv")], limit="the bare call",
          n=20_000, n_of={"raw": 400_000, "coil": 400_000}, figure="wall_ns", both_cores=True, count=4000),
    Micro("file_read64", "file, 4 KiB from memory, 64 at a time", ["raw", "uv"], [times(1.8, "libuv")],
          limit="the bare call", n=192_000, figure="wall_ns", both_cores=True),
    Micro("file_stat", "file, stat on a thread", ["uv"], n=20_000, both_cores=True, count=4000),
    Micro("thread_job", "to_thread, there and back", [], n=20_000, both_cores=True, count=4000),
    Micro("process_job", "job in a process, there and back", [], n=20_000, both_cores=True, count=0),
    Micro("child", "child, /bin/true, with its own CPU", ["raw", "uv"], n=300, count=50, limit="the bare call"),
    Micro("child_pipes", "child with three pipes, with its own CPU", [], n=300, count=50),
    # ---- echo ----
    *[Echo(f"echo_{n}", f"echo, 64 bytes, {n:,} connections", ALL_ECHO, echo_targets(n), limit="raw epoll", connections=n,
           requests=60000, count=n == 50) for n in (50, 500, 5000)],
    Echo("echo_one", "echo, 64 bytes, 1 connection", ALL_ECHO,
         [at_most(1.05, of="raw epoll", subject="coil sock"),
          at_most(0.5, 0.4, of="libuv", metric="wall", subject="coil sock spinning")],
         limit="raw epoll", connections=1, requests=6000, count=False, spin=True),
    Echo("echo_unix", "echo, 64 bytes, 50 AF_UNIX", C_ECHO,
         [at_most(1.0, 0.95, of="raw epoll", subject="coil sock"), times(1.4, "libuv", 1.55, subject="coil sock")],
         limit="raw epoll", transport="unix", requests=100_000, kinds=("sock", "stream")),
    Echo("streaming", "streaming, 64-byte messages, 4 connections, for each", ["epoll", "uv", "go"],
         [times(2.5, "libuv", subject="coil coalesced")], limit="raw epoll", connections=4, requests=2000, size=16384,
         buffer=65536, messages=256, kinds=("coalesced", "messages", "stream"), unit="ns"),
    Echo("echo_large", "echo, 1 MiB, 4 connections", ["epoll", "uv", "ev", "go", "tokio"],
         [times(1.2, "libuv", 1.35, subject="coil sock")], limit="raw epoll", connections=4, requests=200, size=MIB,
         buffer=256 * 1024, rounds=3),  # caches make it restless
    # ---- the rest of the network ----
    Httpd("httpd", "httpd, a page of 1 KiB, 50 connections", ["nginx"], ahead("nginx")),
    Httpd("httpd_16", "httpd, the same, 16 requests at a time", ["nginx"], ahead("nginx"), pipelined=16),
    Datagrams("datagrams", "datagrams, 64 bytes, 50 senders", ["epoll"], limit="raw epoll"),
    Datagrams("datagrams_large", "datagrams, 1,400 bytes, 50 senders", ["epoll"], limit="raw epoll", size=1400),
    Datagrams("datagrams_one", "datagrams, 64 bytes, 1 sender", ["epoll"], limit="raw epoll", connections=1, requests=5000),
    Tls("tls_handshake", "TLS handshake and one byte, 8 at a time", ["raw_tls"], TLS_TARGETS, connections=8,
        requests=800, size=1, fresh=True),
    Tls("tls_small", "TLS echo, 64 bytes, 50 connections", ["raw_tls"], TLS_TARGETS),
    Tls("tls_16k", "TLS echo, 16 KiB, 8 connections", ["raw_tls"], TLS_TARGETS, connections=8, requests=8000,
        size=16384),
    Tls("tls_large", "TLS echo, 1 MiB, 4 connections", ["raw_tls"], TLS_TARGETS, connections=4, requests=150, size=MIB,
        buffer=256 * 1024),
    # ---- several loops ----
    Workers("workers_echo", "echo, 64 bytes, 1,000 connections, by workers", [], WORKER_TARGETS),
    Workers("workers_httpd", "httpd, a page of 1 KiB, 1,000 connections, by workers", [], WORKER_TARGETS, program="httpd", size=1024),
    Messages("messages", "messages from loop to loop, in batches", [],
             [at_most(100, subject="coil 4,096"), at_most(100, subject="coil 65,536")]),
    # ---- growth ----
    Growth("grow_timers", "growth: timers set and fired", []),
    Growth("grow_spawn", "growth: tasks born and joined", []),
    Growth("grow_soon", "growth: callbacks in the ready queue", []),
    Growth("grow_yield", "growth: tasks that yield", []),
    Echo("echo_15000", "growth: echo, 15,000 connections", ["epoll", "epoll_own"],
         [at_most(1.25, of="coil sock at 50", subject="coil sock")], limit="raw epoll", connections=15000, fewer=50,
         kinds=("sock",), count=False, rounds=0.6),
]


def chosen(words):
    """All, or those that are called so; else those that have it in their name or title."""
    exact = {row.word for row in ROWS}
    rows = [row for row in ROWS if not words or any(
        w == row.word if w in exact else w in row.word or w in row.title for w in words)]
    if not rows:
        raise SystemExit(f"no row has {' or '.join(words)} in its name: {' '.join(row.word for row in ROWS)}")
    return rows
