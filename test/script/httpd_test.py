"""What examples/httpd.c promises, from the outside: httpd_test.py BUILD [WORD]. Prints TAP."""
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from manager import Manager
from programs import Program, main, tool


class Server(Program):
    """A server on a free port over a folder that is thrown away."""

    def __init__(self, build, backend, *arguments, **more):
        self.base = tempfile.mkdtemp()
        self.root = os.path.join(self.base, "root")
        os.mkdir(self.root)
        self.write("root/a.txt", b"hello, world\n")
        self.write("root/index.html", b"<h1>home</h1>\n")
        self.write("root/big", bytes(range(256)) * 4096 * 8)
        self.write("root/empty", b"")
        self.write("secret", b"not yours\n")
        os.symlink("../secret", os.path.join(self.root, "way_out"))
        os.symlink("/etc/passwd", os.path.join(self.root, "far_out"))
        os.symlink("a.txt", os.path.join(self.root, "inside"))
        super().__init__(build, backend, "httpd", *arguments, "127.0.0.1:0", self.root, **more)

    def write(self, name, data):
        with open(os.path.join(self.base, name), "wb") as f:
            f.write(data)

    def open(self):
        s = self.connect()
        return s, s.makefile("rb")

    def numbers(self):
        """Connections, responses, responses broken off: what it says at its end."""
        return tuple(map(int, re.findall(r"(\d+) (?:connections|responses|broken)", self.output())))

    def __exit__(self, *why):
        super().__exit__(*why)
        shutil.rmtree(self.base)


def answer(f, head=False):
    """One answer from a stream: status, headers, body."""
    line = f.readline()
    assert line, "the server closed the connection"
    status = int(line.split()[1])
    headers = {}
    while True:
        line = f.readline()
        if line in (b"\r\n", b""):
            break
        name, value = line.decode().split(":", 1)
        headers[name.lower()] = value.strip()
    body = b"" if head else f.read(int(headers["content-length"]))
    return status, headers, body


def ask(server, request, head=False):
    s, f = server.open()
    with s, f:
        s.sendall(request)
        return answer(f, head)


def get(path, more="", method="GET"):
    return f"{method} {path} HTTP/1.1\r\nHost: h\r\n{more}\r\n".encode()


def test_a_file_is_served_whole(v):
    status, headers, body = ask(v, get("/a.txt"))
    assert (status, body) == (200, b"hello, world\n"), (status, body)
    assert headers["content-type"].startswith("text/plain")
    assert headers["connection"] == "keep-alive"
    assert ask(v, get("/big"))[2] == bytes(range(256)) * 4096 * 8
    assert ask(v, get("/empty"))[2] == b""
    assert ask(v, get("/"))[2] == b"<h1>home</h1>\n"
    assert ask(v, get("/%61.txt?query#x"))[2] == b"hello, world\n"
    assert ask(v, get("/inside"))[2] == b"hello, world\n"


def test_head_has_the_headers_and_no_body(v):
    s, f = v.open()
    with s, f:
        s.sendall(get("/a.txt", method="HEAD") + get("/a.txt"))
        status, headers, _ = answer(f, head=True)
        assert (status, headers["content-length"]) == (200, "13")
        assert answer(f)[2] == b"hello, world\n"


def test_requests_may_be_pipelined_and_cut_anywhere(v):
    s, f = v.open()
    with s, f:
        s.sendall(get("/a.txt") * 20)
        for _ in range(20):
            assert answer(f)[2] == b"hello, world\n"
        for byte in get("/a.txt"):
            s.sendall(bytes([byte]))
        assert answer(f)[0] == 200


def test_a_post_body_is_passed_over(v):
    s, f = v.open()
    with s, f:
        s.sendall(get("/a.txt", "Content-Length: 5\r\n", "POST") + b"12345" + get("/a.txt"))
        status, headers, _ = answer(f)
        assert (status, headers["allow"]) == (405, "GET, HEAD")
        assert answer(f)[0] == 200


def test_ranges(v):
    for value, status, body in [("0-4", 206, b"hello"), ("7-", 206, b"world\n"), ("-6", 206, b"world\n"),
                                ("0-99999", 206, b"hello, world\n"), ("-99", 206, b"hello, world\n"),
                                ("5-5", 206, b","), ("13-", 416, None), ("-0", 416, None),
                                ("4-1", 200, b"hello, world\n"), ("x-y", 200, b"hello, world\n"),
                                ("0-1,3-4", 200, b"hello, world\n")]:
        got = ask(v, get("/a.txt", f"Range: bytes={value}\r\n"))
        assert got[0] == status, (value, got)
        assert body is None or got[2] == body, (value, got)
    assert ask(v, get("/a.txt", "Range: bytes=0-4\r\n"))[1]["content-range"] == "bytes 0-4/13"
    assert ask(v, get("/a.txt", "Range: bytes=99-\r\n"))[1]["content-range"] == "bytes */13"
    assert ask(v, get("/big", "Range: bytes=1000000-1000009\r\n"))[2] == \
        (bytes(range(256)) * 4096 * 8)[1000000:1000010]


def test_nothing_outside_the_root_is_served(v):
    for path in ["/../secret", "/%2e%2e/secret", "/..%2fsecret", "/a.txt/../../secret", "/way_out", "/far_out",
                 "//etc/passwd", "/./../secret", "/nothing", "/a.txt/", "/a.txt/x"]:
        status, _, body = ask(v, get(path))
        assert status == 404 and b"not yours" not in body and b"root:" not in body, (path, status, body)


def test_bad_requests_are_named(v):
    assert ask(v, b"nonsense\r\n\r\n")[0] == 400
    assert ask(v, b"GET /a.txt HTTP/1.1\r\nbad header\r\n\r\n")[0] == 400
    assert ask(v, get("/%zz"))[0] == 400
    assert ask(v, get("/%00"))[0] == 400
    assert ask(v, get("/" + "x" * 5000))[0] == 414
    assert ask(v, get("/a.txt", "X: " + "y" * 20000 + "\r\n"))[0] == 431
    assert ask(v, get("/a.txt", "".join(f"X{i}: y\r\n" for i in range(4000))))[0] == 431
    assert ask(v, get("/a.txt", "Content-Length: 99999999\r\n", "POST"))[0] == 413
    assert ask(v, get("/a.txt", "Content-Length: x\r\n", "POST"))[0] == 400
    chunked = "Transfer-Encoding: chunked\r\n"
    assert ask(v, get("/a.txt", chunked, "POST") + b"200000\r\n" + b"z" * 0x200000)[0] == 413


def test_close_is_honoured(v):
    for request in [get("/a.txt", "Connection: close\r\n"), b"GET /a.txt HTTP/1.0\r\n\r\n"]:
        s, f = v.open()
        with s, f:
            s.sendall(request)
            status, headers, _ = answer(f)
            assert (status, headers["connection"]) == (200, "close")
            s.shutdown(socket.SHUT_WR)
            assert f.read() == b""


def test_clients_that_vanish_do_no_harm(v):
    for _ in range(50):
        s, f = v.open()
        s.sendall(get("/big"))
        f.read(1000)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        f.close()
        s.close()
    assert ask(v, get("/a.txt"))[0] == 200


def test_slow_clients_cost_little_memory(v):
    before = v.rss_kb()
    slow = [v.open() for _ in range(10 if v.sanitized else 100)]
    for s, f in slow:
        s.sendall(get("/big"))  # and nobody reads: 8 MB each, if the server were to hold it
    assert ask(v, get("/a.txt"))[0] == 200
    time.sleep(0.5)
    grown = v.rss_kb() - before
    assert v.sanitized or grown < len(slow) * 512, f"{grown} KB for {len(slow)} clients"
    for s, f in slow:
        f.close()
        s.close()
    assert ask(v, get("/a.txt"))[0] == 200


def test_sigterm_lets_busy_clients_finish(v):
    idle, idle_f = v.open()
    idle.sendall(get("/a.txt"))
    assert answer(idle_f)[0] == 200
    busy, busy_f = v.open()
    busy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    busy.sendall(get("/big"))
    assert busy_f.readline().startswith(b"HTTP/1.1 200")
    v.signal()
    assert idle_f.read() == b"", "an idle connection is closed at once"
    rest = busy_f.read()
    assert rest.endswith((bytes(range(256)) * 4096 * 8)[-1000:]), "the answer was cut"
    idle.close()
    busy.close()


def test_sigterm_answers_every_request_that_was_sent(v):
    """Clients that ask without pause; one of their requests is always under way."""
    answered, cut = [], []

    def ask_without_end():
        s, f = v.open()
        with s, f:
            while True:
                s.sendall(get("/a.txt"))
                try:
                    status, headers, body = answer(f)
                except (AssertionError, OSError) as e:
                    cut.append(repr(e))
                    return
                assert (status, body) == (200, b"hello, world\n")
                answered.append(1)
                if headers["connection"] == "close":
                    return

    clients = [threading.Thread(target=ask_without_end) for _ in range(20)]
    for client in clients:
        client.start()
    time.sleep(0.3)
    v.signal()
    for client in clients:
        client.join()
    assert v.end() == 0
    assert not cut, f"{len(cut)} were cut: {cut[0]}"
    assert v.numbers() == (20, len(answered), 0), (v.numbers(), len(answered))


def test_wrk_and_the_server_count_the_same(v):
    wrk = tool("wrk")
    done = subprocess.run([wrk, "-t2", "-c50", "-d1s", f"http://127.0.0.1:{v.port}/a.txt"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    assert "Socket errors" not in done.stdout and "Non-2xx" not in done.stdout, done.stdout
    requests = int(re.search(r"(\d+) requests in", done.stdout).group(1))
    v.stop()
    connections, responses, broken = v.numbers()
    # It tries the server with a connection of its own; at its end it hangs up, a request on every other one.
    assert connections in (50, 51) and requests <= responses + broken <= requests + 50, (v.numbers(), requests)


def test_ab_and_the_server_count_the_same(v):
    ab = tool("ab")
    n = 2000 if v.sanitized else 10000
    for keep in ([], ["-k"]):
        done = subprocess.run([ab, "-q", *keep, "-n", str(n), "-c", "50", f"http://127.0.0.1:{v.port}/a.txt"], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout
        for what, number in [("Complete requests", n), ("Failed requests", 0), ("HTML transferred", 13 * n)]:
            assert re.search(rf"{what}: +{number}\b", done.stdout), done.stdout
    v.stop()
    assert v.numbers()[1:] == (2 * n, 0), v.numbers()


def as_a_service(fn):
    fn.manager = lambda: Manager([(("127.0.0.1", 0), "http")], watchdog=0.2)
    return fn


@as_a_service
def test_service_serves_the_socket_it_was_given(v):
    assert v.port == v.manager.sockets[0][0].getsockname()[1]
    assert v.manager.hear() == "READY=1"
    s, f = v.open()
    s.sendall(get("/a.txt"))
    assert answer(f)[2] == b"hello, world\n"
    s.close()
    assert [v.manager.hear() for _ in range(3)] == ["WATCHDOG=1"] * 3
    v.signal()
    while (message := v.manager.hear()) == "WATCHDOG=1":
        pass
    assert message == "STOPPING=1", message
    assert v.end() == 0


@as_a_service
def test_service_that_hangs_gives_no_sign_of_life(v):
    assert v.manager.hear() == "READY=1"
    assert v.manager.hear() == "WATCHDOG=1"
    v.signal(signal.SIGSTOP)
    # What was sent before it stopped is heard; then comes nothing for five times as long as the manager waits.
    for _ in range(1000):
        if v.manager.hear(1) is None:
            break
    else:
        raise AssertionError("it goes on")
    v.signal(signal.SIGCONT)
    assert v.manager.hear() == "WATCHDOG=1"


def with_workers(fn):
    fn.arguments = ["-w", "2"]
    return fn


@with_workers
def test_workers_share_the_clients_out(v):
    clients = [v.open() for _ in range(80)]
    for s, f in clients:
        s.sendall(get("/a.txt"))
    for s, f in clients:
        assert answer(f)[2] == b"hello, world\n"
        s.close()
        f.close()
    v.stop()
    numbers = v.numbers()  # of each
    assert len(numbers) == 6 and numbers[0] + numbers[3] == numbers[1] + numbers[4] == 80, numbers
    assert min(numbers[0], numbers[3]) > 10, numbers


@with_workers
def test_workers_all_finish_what_is_under_way(v):
    clients = [v.open() for _ in range(6)]
    for s, f in clients:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        s.sendall(get("/big"))
        assert f.readline().startswith(b"HTTP/1.1 200")
    v.signal()
    for s, f in clients:
        assert f.read().endswith((bytes(range(256)) * 4096 * 8)[-1000:]), "the answer was cut"
        s.close()
        f.close()
    assert v.end() == 0


def on_a_server(fn):
    def run(build, backend):
        manager = fn.manager() if hasattr(fn, "manager") else None
        with Server(build, backend, *getattr(fn, "arguments", []), manager=manager) as v:
            v.manager = manager
            fn(v)
            if v.process.poll() is None:
                v.stop()
            assert v.errors() == "", v.errors()
        if manager:
            manager.close()
    return run


main("httpd", {name: on_a_server(fn) for name, fn in globals().items() if name.startswith("test_")})
