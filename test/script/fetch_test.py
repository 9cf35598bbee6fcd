"""What examples/fetch.c promises, from the outside: fetch_test.py BUILD [WORD]. Prints TAP."""
import asyncio
import contextlib
import os
import pty
import re
import socket
import struct
import subprocess
import threading
import time

from programs import Skip, at_most, free_port, main


class Site:
    """A server in a thread, on many addresses of this machine, that counts who is there at once."""

    def __init__(self, addresses=1):
        self.there, self.most = {}, {}
        self.most_of_all = 0
        self.ready = threading.Event()
        self.hosts = [f"127.0.0.{i + 1}" for i in range(addresses)]
        self.thread = threading.Thread(target=lambda: asyncio.run(self.serve()))
        self.thread.start()
        self.ready.wait()

    async def serve(self):
        self.loop = asyncio.get_running_loop()
        self.end = asyncio.Event()
        server = await asyncio.start_server(self.client, self.hosts[0], 0, backlog=1000)
        self.port = server.sockets[0].getsockname()[1]
        rest = [await asyncio.start_server(self.client, host, self.port, backlog=1000) for host in self.hosts[1:]]
        self.ready.set()
        await self.end.wait()
        for s in [server, *rest]:
            s.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def client(self, reader, writer):
        host = writer.get_extra_info("sockname")[0]
        self.there[host] = self.there.get(host, 0) + 1
        self.most[host] = max(self.most.get(host, 0), self.there[host])
        self.most_of_all = max(self.most_of_all, sum(self.there.values()))
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            await self.answer(request.split()[1].decode(), writer)
        except (asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self.there[host] -= 1
            writer.close()

    async def answer(self, path, writer):
        def send(head, body=b""):
            writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)

        what, _, number = path[1:].partition("/")
        if what == "plain":
            size = int(number.partition("?")[0])
            send(f"HTTP/1.1 200 OK\nContent-Length: {size}", b"x" * size)
        elif what == "chunked":
            send("HTTP/1.1 200 OK\nTransfer-Encoding: chunked")
            for i in range(int(number)):
                writer.write(b"3;name=value\r\nabc\r\n" if i % 2 else b"5\r\n\r\n0\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0)
            writer.write(b"0\r\nTrailer: x\r\n\r\n")
        elif what == "until_end":
            send("HTTP/1.0 200 OK", b"y" * int(number))
        elif what == "continue":
            send("HTTP/1.1 100 Continue")
            send("HTTP/1.1 200 OK\nContent-Length: 2", b"ok")
        elif what == "slow":
            await asyncio.sleep(0.05)
            send("HTTP/1.1 200 OK\nContent-Length: 2", b"ok")
        elif what == "hop":
            more = f"hop/{int(number) - 1}" if int(number) else "plain/3"
            send(f"HTTP/1.1 302 Found\nLocation: /{more}\nContent-Length: 0")
        elif what == "relative":
            send("HTTP/1.1 301 Moved\nLocation: ../plain/4#part\nContent-Length: 0" if number == "x"
                 else "HTTP/1.1 307 Moved\nlocation: 5\nContent-Length: 0")
        elif what == "dots":
            send("HTTP/1.1 301 Moved\nLocation: ../../a/b/./../.././plain/6?x=/../y\nContent-Length: 0")
        elif what == "elsewhere":
            send(f"HTTP/1.1 308 Moved\nLocation: http://{self.hosts[-1]}:{self.port}/plain/7\nContent-Length: 0")
        elif what == "tls":
            send("HTTP/1.1 301 Moved\nLocation: https://127.0.0.1/\nContent-Length: 0")
        elif what == "missing":
            send("HTTP/1.1 404 Not Found\nContent-Length: 4", b"none")
        elif what == "short":
            send("HTTP/1.1 200 OK\nContent-Length: 100", b"x")
        elif what == "garbage":
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        elif what == "drip":
            send("HTTP/1.1 200 OK\nContent-Length: 1000")
            while True:
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.02)
        elif what == "hang":
            await asyncio.sleep(3600)
        elif what == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await writer.drain()

    def url(self, path, host=0):
        return f"http://{self.hosts[host]}:{self.port}/{path}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.end.set)
        self.thread.join()


def command(build):
    path = os.path.join(build, "examples/fetch")
    if not os.path.exists(path):
        raise Skip("examples/fetch is not built here (no llhttp)")
    return path


def fetch(build, backend, *arguments, stdin=""):
    began = time.monotonic()
    done = subprocess.run([command(build), *map(str, arguments)], input=stdin, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=at_most(60), env={**os.environ, "COIL_BACKEND": backend})
    assert done.stderr == "", done.stderr
    return done.returncode, done.stdout, time.monotonic() - began


def test_bodies_are_counted_however_they_end(build, backend):
    with Site() as site:
        sizes = {"plain/0": 0, "plain/300000": 300000, "chunked/1000": 4000, "until_end/5000": 5000, "continue/": 2,
                 "until_end/0": 0}
        status, out, _ = fetch(build, backend, *map(site.url, sizes))
        assert status == 0, out
        for path, size in sizes.items():
            assert re.search(rf"^200  {re.escape(site.url(path))}  {size} bytes in ", out, re.M), out
        assert f"6 of 6 good, {sum(sizes.values())} bytes" in out, out


def test_redirects_are_followed_so_far(build, backend):
    with Site(2) as site:
        for path, size in [("hop/0", 3), ("hop/4", 3), ("relative/x", 4), ("dots/x/y", 6), ("elsewhere", 7)]:
            status, out, _ = fetch(build, backend, site.url(path))
            assert status == 0 and f"200  {site.url(path)}  {size} bytes" in out, out
        status, out, _ = fetch(build, backend, site.url("relative/y"))
        assert status == 1 and "too many redirects after" in out, out  # relative/y leads to relative/5, that to itself
        status, out, _ = fetch(build, backend, site.url("hop/5"))
        assert status == 1 and "1 too many redirects" in out, out
        status, out, _ = fetch(build, backend, site.url("tls"))
        assert status == 1 and "only http:// is spoken here" in out, out


def test_every_kind_of_trouble_is_named_and_the_others_go_on(build, backend):
    with Site() as site:
        bad = {"missing": "404  ", "short": "cut off", "garbage": "not HTTP", "reset": "reset"}
        urls = [site.url(path) for path in bad] + [site.url(f"plain/{n}") for n in range(20)]
        urls += [f"http://127.0.0.1:{free_port()}/", "gopher://x/", "http://a b/", "http:///", "http://[::1/",
                 f"http://{'h' * 300}/", f"http://127.0.0.1:99999999/", "http://u:p@127.0.0.1/"]
        status, out, _ = fetch(build, backend, stdin="\n".join(urls) + "\n")
        assert status == 1, out
        for path, words in bad.items():
            line = re.search(rf".*{re.escape(site.url(path))}.*", out).group()
            assert words in line, line
        assert "20 of 32 good" in out, out
        for n, kind in [(1, "bad status"), (1, "cut off"), (1, "not HTTP"), (1, "reset"), (1, "no connection"),
                        (7, "not an http URL")]:
            assert re.search(rf"^ +{n} {kind}$", out, re.M), out


def test_a_host_that_hangs_times_out_alone(build, backend):
    with Site(2) as site:
        urls = [site.url("hang") for _ in range(3)] + [site.url("drip")]
        urls += [site.url(f"plain/{i}", 1) for i in range(50)]
        status, out, seconds = fetch(build, backend, "-t", 0.5, stdin="\n".join(urls))
        assert status == 1 and "50 of 54 good" in out and re.search(r"^ +4 time limit$", out, re.M), out
        assert out.count("time limit after 0.5") == 4, out
        lines = out.splitlines()
        assert all("200  " in line for line in lines[:50]), "the others had to wait"
        assert seconds < at_most(5), seconds


def test_places_are_bounded_for_each_host_and_overall(build, backend):
    with Site(30) as site:
        urls = [site.url(f"slow/{i}", i % 30) for i in range(600)]
        status, out, _ = fetch(build, backend, stdin="\n".join(urls))
        assert status == 0 and "600 of 600 good" in out, out[-500:]
        assert max(site.most.values()) <= 6, site.most
        assert 80 <= site.most_of_all <= 100, site.most_of_all
        site.most_of_all = 0
        site.most.clear()
        status, out, _ = fetch(build, backend, "-n", 5, "-p", 2, *urls[:40])
        assert status == 0 and max(site.most.values()) <= 2 and site.most_of_all <= 5, (site.most, site.most_of_all)


def test_usage(build, backend):
    for arguments in (["-t", "x"], ["-n", "0"], ["-z"]):
        done = subprocess.run([command(build), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 2 and "usage: fetch" in done.stderr, done.stderr
    status, out, _ = fetch(build, backend)
    assert status == 0 and "0 of 0 good" in out, out


def test_on_a_terminal_a_bar_moves(build, backend):
    with Site() as site:
        urls = [site.url("slow/1") for _ in range(30)] + [site.url("missing")]
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(command(build), ["fetch", *urls], {**os.environ, "COIL_BACKEND": backend})
        shown = b""
        with contextlib.suppress(OSError):  # the terminal's way of saying that it ended
            while part := os.read(terminal, 65536):
                shown += part
        os.close(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
        shown = shown.decode()
        assert "[..............................] 0 of 31" in shown, shown
        assert "[##############################] 31 of 31, 0 under way, 1 failed" in shown, shown
        assert "slow/1" not in shown and "404  " in shown and "30 of 31 good" in shown, shown


main("fetch", globals())
