"""What examples/httpd.c promises, from the outside: httpd_test.py PATH_OF_HTTPD. Prints TAP."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HTTPD = sys.argv[1]
with open(HTTPD, "rb") as program:
    code = program.read()
# A sanitizer keeps what was freed and notes of its own, so memory then says nothing; and it is slow.
SANITIZED = b"__asan_init" in code or b"__tsan_init" in code


class Server:
    """A server on a free port over a folder that is thrown away."""

    def __init__(self):
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
        self.process = subprocess.Popen([HTTPD, "127.0.0.1:0", self.root], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.port = int(re.search(r":(\d+) \(", self.process.stdout.readline()).group(1))

    def write(self, name, data):
        with open(os.path.join(self.base, name), "wb") as f:
            f.write(data)

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        return s, s.makefile("rb")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            out, err = self.process.communicate(timeout=120 if SANITIZED else 30)
        finally:
            self.process.kill()
            shutil.rmtree(self.base)
        return self.process.returncode, err


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
    s, f = server.connect()
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
    s, f = v.connect()
    with s, f:
        s.sendall(get("/a.txt", method="HEAD") + get("/a.txt"))
        status, headers, _ = answer(f, head=True)
        assert (status, headers["content-length"]) == (200, "13")
        assert answer(f)[2] == b"hello, world\n"


def test_requests_may_be_pipelined_and_cut_anywhere(v):
    s, f = v.connect()
    with s, f:
        s.sendall(get("/a.txt") * 20)
        for _ in range(20):
            assert answer(f)[2] == b"hello, world\n"
        for byte in get("/a.txt"):
            s.sendall(bytes([byte]))
        assert answer(f)[0] == 200


def test_a_post_body_is_passed_over(v):
    s, f = v.connect()
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
        s, f = v.connect()
        with s, f:
            s.sendall(request)
            status, headers, _ = answer(f)
            assert (status, headers["connection"]) == (200, "close")
            s.shutdown(socket.SHUT_WR)
            assert f.read() == b""


def test_clients_that_vanish_do_no_harm(v):
    for _ in range(50):
        s, f = v.connect()
        s.sendall(get("/big"))
        f.read(1000)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        f.close()
        s.close()
    assert ask(v, get("/a.txt"))[0] == 200


def rss_kb(v):
    with open(f"/proc/{v.process.pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def test_slow_clients_cost_little_memory(v):
    before = rss_kb(v)
    slow = [v.connect() for _ in range(10 if SANITIZED else 100)]
    for s, f in slow:
        s.sendall(get("/big"))  # and nobody reads: 8 MB each, if the server were to hold it
    assert ask(v, get("/a.txt"))[0] == 200
    time.sleep(0.5)
    grown = rss_kb(v) - before
    assert SANITIZED or grown < len(slow) * 512, f"{grown} KB for {len(slow)} clients"
    for s, f in slow:
        f.close()
        s.close()
    assert ask(v, get("/a.txt"))[0] == 200


def test_sigterm_lets_busy_clients_finish(v):
    idle, idle_f = v.connect()
    idle.sendall(get("/a.txt"))
    assert answer(idle_f)[0] == 200
    busy, busy_f = v.connect()
    busy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    busy.sendall(get("/big"))
    assert busy_f.readline().startswith(b"HTTP/1.1 200")
    v.process.send_signal(signal.SIGTERM)
    assert idle_f.read() == b"", "an idle connection is closed at once"
    rest = busy_f.read()
    assert rest.endswith((bytes(range(256)) * 4096 * 8)[-1000:]), "the answer was cut"
    idle.close()
    busy.close()


def main():
    tests = [(name[5:], fn) for name, fn in globals().items() if name.startswith("test_")]
    print(f"1..{len(tests)}")
    failed = 0
    for i, (name, fn) in enumerate(tests, 1):
        server = Server()
        why = ""
        try:
            fn(server)
        except Exception as e:  # noqa: BLE001: whatever it is, it is the test's failure
            why = f"{type(e).__name__}: {e}"
        status, err = server.stop()
        if not why and (status != 0 or err):
            why = f"the server ended with {status}: {err}"
        failed += bool(why)
        print(f"{'not ok' if why else 'ok'} {i} - httpd_{name}")
        if why:
            print(f"# {why}")
    sys.exit(1 if failed else 0)


main()
