"""What examples/proxy.c promises, from the outside: proxy_test.py BUILD [WORD]. Prints TAP."""
import contextlib
import hashlib
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

from programs import (Program, at_most, free_port, main, peer_env, peers, postgres, read_all, refused, reset, running,
                      tool)


@contextlib.contextmanager
def proxied(build, backend, port=None, **more):
    """A proxy, and the listener that it leads to."""
    with contextlib.ExitStack() as stack:
        listener = None
        if port is None:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=500))
            listener.settimeout(at_most(20))
            port = listener.getsockname()[1]
        yield stack.enter_context(Program(build, backend, "proxy", "127.0.0.1:0", "127.0.0.1", port, **more)), listener


def pair(proxy, listener):
    client = proxy.connect()
    backend, _ = listener.accept()
    backend.settimeout(at_most(20))
    return client, backend


def meets_reset(s):
    try:
        return read_all(s) is None
    except ConnectionResetError:
        return True


def is_turned_away(proxy):
    try:
        with proxy.connect() as client:
            return meets_reset(client)
    except ConnectionResetError:  # already while it connected
        return True


def test_each_end_is_passed_on_by_itself(build, backend):
    data = os.urandom(1 << 20)
    with proxied(build, backend) as (proxy, listener):
        for first, second in [(0, 1), (1, 0)]:
            ends = pair(proxy, listener)
            with ends[0], ends[1]:
                ends[first].sendall(b"the question")
                ends[first].shutdown(socket.SHUT_WR)
                assert read_all(ends[second]) == b"the question"
                answer = threading.Thread(target=ends[second].sendall, args=(data,))
                answer.start()
                time.sleep(0.05)
                got = b""
                while len(got) < len(data):
                    got += ends[first].recv(65536)
                answer.join()
                ends[second].close()
                assert got == data and ends[first].recv(1) == b""
        proxy.stop()
        assert "2 connections" in proxy.output() and proxy.errors() == "", proxy.output()


def test_a_reset_is_passed_on(build, backend):
    with proxied(build, backend) as (proxy, listener):
        for first, second in [(0, 1), (1, 0)]:
            ends = pair(proxy, listener)
            ends[first].sendall(b"x")
            assert ends[second].recv(10) == b"x"
            reset(ends[first])
            assert meets_reset(ends[second]), "it looked like a regular end"
            ends[second].close()
        proxy.stop()
        assert proxy.errors() == "", proxy.errors()


def test_what_came_before_an_early_close_is_delivered(build, backend):
    with proxied(build, backend) as (proxy, listener):
        client, server = pair(proxy, listener)
        client.sendall(b"a long request " * 1000)
        server.recv(10)
        server.sendall(b"no, thank you")
        server.close()  # with input unread: a reset, after the answer
        assert client.recv(100) == b"no, thank you"
        client.close()
        proxy.stop()


def test_a_slow_reader_stops_the_sender(build, backend):
    with proxied(build, backend) as (proxy, listener):
        before = proxy.rss_kb()
        ends = [pair(proxy, listener) for _ in range(20)]
        for first, second in [(0, 1), (1, 0)]:
            sent = 0
            for end in ends:
                end[first].setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while sent < 1 << 32:
                        sent += end[first].send(bytes(1 << 20))
            time.sleep(0.2)
            for end in ends:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sent += end[first].send(bytes(1 << 20))
        grown = proxy.rss_kb() - before
        # Two frames with a chunk each, two writers with a chunk each, and odds and ends. With io_uring there is a
        # stock of buffers for the whole loop, at most 8 MB.
        most = len(ends) * 200 + (8192 if backend == "uring" else 0)
        assert proxy.sanitized or grown < most, f"{grown} KB for {len(ends)} connections"
        idle = proxy.cpu_seconds()
        time.sleep(0.3)
        assert proxy.sanitized or proxy.cpu_seconds() - idle <= 0.05, "it is busy with senders that it has stopped"
        for end in ends:
            reset(end[0])
        for end in ends:
            end[1].settimeout(at_most(20))
            meets_reset(end[1])
            end[1].close()
        proxy.stop()


def test_a_backend_that_is_not_there_closes_the_client_and_is_named(build, backend):
    port = free_port()
    with proxied(build, backend, port) as (proxy, _):
        assert is_turned_away(proxy)
        proxy.wait_for(proxy.errors, rf"a client was turned away, 127\.0\.0\.1:{port} cannot be reached: .*"
                                     rf"Connect call failed")
        with socket.create_server(("127.0.0.1", port)) as listener:
            client, server = pair(proxy, listener)
            client.sendall(b"x")
            assert server.recv(1) == b"x", "once it is there, the next client is served"
            client.close()
            server.close()
        proxy.stop()
        assert "1 connections" in proxy.output() and "1 turned away" in proxy.output(), proxy.output()


def test_sigterm_lets_a_transfer_finish(build, backend):
    data = os.urandom(8 << 20)
    with proxied(build, backend) as (proxy, listener):
        client, server = pair(proxy, listener)
        sender = threading.Thread(target=lambda: (server.sendall(data), server.close()))
        sender.start()
        got = client.recv(1000)
        proxy.signal()
        proxy.wait_for(proxy.output, "stopping, 1 connections go on")
        assert refused(proxy.port)
        assert got + read_all(client) == data
        client.close()
        sender.join()
        assert proxy.end() == 0, proxy.errors()
        assert "0 cut" in proxy.output()


def test_a_second_sigterm_cuts_what_is_left(build, backend):
    with proxied(build, backend) as (proxy, listener):
        ends = [pair(proxy, listener) for _ in range(3)]
        proxy.signal()
        proxy.wait_for(proxy.output, "stopping, 3 connections go on")
        assert refused(proxy.port) and proxy.process.poll() is None
        proxy.signal()
        assert proxy.end() == 1
        for client, server in ends:
            assert meets_reset(client) and meets_reset(server)
            client.close()
            server.close()
        assert "3 cut" in proxy.output() and "3 connections were cut short" in proxy.errors()


def test_two_hundred_clients_share_64_descriptors(build, backend):
    with proxied(build, backend, limit_fds=64) as (proxy, listener):
        clients = [proxy.connect() for _ in range(200)]
        for i, client in enumerate(clients):
            client.sendall(b"%4d" % i)
        served = [listener.accept()[0] for _ in range(20)]
        time.sleep(0.2)
        idle = proxy.cpu_seconds()
        time.sleep(0.5)
        assert proxy.cpu_seconds() - idle <= 0.05, "it is busy while it waits for descriptors"
        numbers = set()
        for i in range(200):
            server = served.pop(0) if served else listener.accept()[0]
            server.settimeout(at_most(20))
            number = int(server.recv(4))
            numbers.add(number)
            server.close()
            assert clients[number].recv(1) == b""
            clients[number].close()
        assert numbers == set(range(200))
        proxy.stop()
        assert "200 connections" in proxy.output() and proxy.errors() == "", proxy.output() + proxy.errors()


# ---- real programs behind it ----

def redis(root, port, folder):
    return running([f"{root}/usr/bin/redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                    "--dir", folder, "--daemonize", "no"], port, env=peer_env(root))


def test_redis_benchmark_meets_no_error(build, backend):
    root = peers(build, "redis-server", "redis-tools")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, proxied(build, backend, port) as (proxy, _):
        requests = 2000 if proxy.sanitized else 20000
        benchmark = [f"{root}/usr/bin/redis-benchmark", "-h", "127.0.0.1", "-p", str(proxy.port), "-c", "50", "-q",
                     "-n", str(requests), "-t", "set,get,incr"]
        cli = [f"{root}/usr/bin/redis-cli", "-h", "127.0.0.1", "-p", str(proxy.port)]
        with redis(root, port, folder) as server:
            done = subprocess.run(benchmark, env=peer_env(root), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, timeout=at_most(60))
            assert done.returncode == 0 and "rror" not in done.stdout, done.stdout
            assert len(re.findall(r"requests per second", done.stdout)) == 3, done.stdout
            stats = subprocess.run([*cli, "info", "commandstats"], env=peer_env(root), stdout=subprocess.PIPE,
                                   text=True).stdout
            for command in ("set", "get", "incr"):
                assert f"cmdstat_{command}:calls={requests}," in stats, stats

            # kill -9 of the backend: who is connected learns it, who comes next is told.
            held = proxy.connect()
            held.sendall(b"PING\r\n")
            assert held.recv(7) == b"+PONG\r\n"
            server.send_signal(signal.SIGKILL)
            server.wait()
            meets_reset(held)  # the kernel ends it for the backend: a regular end or a reset, but an end
            held.close()
        assert is_turned_away(proxy)
        proxy.wait_for(proxy.errors, "cannot be reached")
        with redis(root, port, folder):
            again = subprocess.run([*cli, "ping"], env=peer_env(root), stdout=subprocess.PIPE, text=True)
            assert again.stdout == "PONG\n", again.stdout
        proxy.stop()


def test_pgbench_meets_no_error(build, backend):
    port = free_port()
    with proxied(build, backend, port) as (proxy, _), postgres(build, port) as (bin, env, server):
        to_proxy = ["-h", "127.0.0.1", "-p", str(proxy.port), "-U", "test"]

        def pgbench(*arguments):
            done = subprocess.run([f"{bin}/pgbench", *to_proxy, *arguments, "postgres"], env=env, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=at_most(60))
            assert done.returncode == 0, done.stdout
            return done.stdout

        pgbench("-i", "-q", "-s", "1")
        # -C: a new connection for each transaction; then ten that stay.
        for arguments, transactions in [(("-c", "2", "-t", "10", "-C"), 20), (("-c", "10", "-t", "50"), 500)]:
            out = pgbench(*arguments)
            assert f"transactions actually processed: {transactions}/{transactions}" in out, out
            assert "number of failed transactions: 0 " in out, out

        held = proxy.connect()  # a cancel or a crash in the middle of a session
        held.sendall(struct.pack(">II", 8, 80877103))
        assert held.recv(1) in (b"N", b"S")
        server.send_signal(signal.SIGQUIT)
        server.wait()
        meets_reset(held)
        held.close()
        assert is_turned_away(proxy)
        proxy.stop()
        assert proxy.errors().count("cannot be reached") == 1, proxy.errors()


def test_a_download_of_200_megabytes_is_the_same(build, backend):
    curl = tool("curl")
    with tempfile.TemporaryDirectory() as folder:
        want = hashlib.sha256()
        with Program(build, backend, "httpd", "127.0.0.1:0", folder) as httpd:
            size = 0
            with open(f"{folder}/big", "wb") as f:
                while size < (20 if httpd.sanitized else 200) << 20:
                    part = os.urandom(1 << 16) * 16
                    f.write(part)
                    want.update(part)
                    size += len(part)
            with proxied(build, backend, httpd.port) as (proxy, _):
                fetch = subprocess.Popen([curl, "-sS", "--fail", "--noproxy", "*", f"http://127.0.0.1:{proxy.port}/big"],
                                         stdout=subprocess.PIPE)
                got, n = hashlib.sha256(), 0
                while part := fetch.stdout.read(1 << 20):
                    got.update(part)
                    n += len(part)
                assert fetch.wait() == 0
                assert (n, got.digest()) == (size, want.digest())
                proxy.stop()
                down = int(re.search(r"(\d+) bytes down", proxy.output()).group(1))
                assert 0 < down - size < 1000, (down, size)
            httpd.stop()


main("proxy", globals())
