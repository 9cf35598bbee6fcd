"""What examples/tlsproxy.c promises, from the outside: tlsproxy_test.py BUILD [WORD]. Prints TAP."""
import contextlib
import hashlib
import os
import re
import select
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time

from programs import Program, at_most, main, peer_env, peers, read_all, reset, tool, until
from tls_peers import (ask_gnutls, ask_s_client, authority, echo_server, listener, s_client, s_server, tlsproxy)


@contextlib.contextmanager
def terminating(build, backend, *options):
    """A proxy whose clients speak TLS, and the listener that it leads to."""
    with listener() as (behind, port), tlsproxy(build, backend, port, *authority(build).own("good"), *options) as proxy:
        yield proxy, behind


@contextlib.contextmanager
def originating(build, backend, *options):
    """A proxy whose backend speaks TLS, and the listener that plays it."""
    ca = authority(build)
    with listener() as (behind, port), tlsproxy(build, backend, port, "--tls", "--ca", ca.root, "--name", "host.test",
                                                *options) as proxy:
        yield proxy, behind


def client_context(build, version=None):
    context = ssl.create_default_context(cafile=authority(build).root)
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # Debian's Python sets it, and takes a cut for an end
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def server_context(build, version=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority(build).pem("good"), authority(build).key("good"))
    if version:
        context.minimum_version = context.maximum_version = version
    return context


VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


def tls_client(build, proxy, version=None):
    return client_context(build, version).wrap_socket(proxy.connect(), server_hostname="host.test",
                                                      suppress_ragged_eofs=False)


def tls_pair(build, proxy, behind, version=None):
    client = tls_client(build, proxy, version)
    server, _ = behind.accept()
    server.settimeout(at_most(20))
    return client, server


def meets_reset(s):
    try:
        read_all(s)
        return False
    except ConnectionResetError:
        return True


# ---- the end, in all its forms ----

def test_a_clients_close_notify_is_the_backends_end_of_stream(build, backend):
    for version in VERSIONS:
        with terminating(build, backend) as (proxy, behind):
            client, server = tls_pair(build, proxy, behind, version)
            client.sendall(b"the question")
            raw = client.unwrap  # sends close_notify, and waits for the proxy's
            thread = threading.Thread(target=raw)
            thread.start()
            assert read_all(server) == b"the question"
            server.close()
            thread.join(20)
            assert not thread.is_alive(), "the proxy's close_notify did not come"
            client.close()
            proxy.stop()
            assert "1 connections" in proxy.output() and proxy.errors() == "", proxy.errors()


def test_the_backends_end_of_stream_is_the_clients_close_notify(build, backend):
    data = os.urandom(1 << 20)
    for version in VERSIONS:
        with terminating(build, backend) as (proxy, behind):
            client, server = tls_pair(build, proxy, behind, version)
            sender = threading.Thread(target=lambda: (server.sendall(data), server.close()))
            sender.start()
            assert read_all(client) == data  # an end without close_notify would raise
            client.unwrap().close()
            sender.join()
            proxy.stop()
            assert proxy.errors() == "", proxy.errors()


def test_a_backend_that_speaks_tls_ends_it_too(build, backend):
    data = os.urandom(1 << 20)
    for version in VERSIONS:
        with originating(build, backend) as (proxy, behind):
            def serve():
                s, _ = behind.accept()
                s.settimeout(at_most(20))
                with server_context(build, version).wrap_socket(s, server_side=True, suppress_ragged_eofs=False) as tls:
                    assert tls.recv(100) == b"the question"
                    tls.sendall(data)
                    tls.unwrap().close()
            server = threading.Thread(target=serve)
            server.start()
            with proxy.connect() as client:
                client.sendall(b"the question")
                assert read_all(client) == data
            server.join(20)
            assert not server.is_alive(), "the proxy's close_notify did not come"
            proxy.stop()
            assert proxy.errors() == "", proxy.errors()


def say_end(tls):
    """Sends close_notify, and does not wait for the peer's."""
    tls.setblocking(False)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.unwrap()
    tls.settimeout(at_most(20))


def read_rest(s):
    """Who has said its own end is told of the peer's by an exception."""
    parts = []
    with contextlib.suppress(ssl.SSLZeroReturnError):
        while part := s.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_one_directions_end_leaves_the_other_to_answer(build, backend):
    """TLS to TLS, and plain to TLS: who has asked, and said that this is all, still gets the answer."""
    answer = os.urandom(1 << 20)
    ca = authority(build)
    for version in VERSIONS:
        for own in (ca.own("good"), ()):
            with listener() as (behind, port), tlsproxy(build, backend, port, *own, "--tls", "--ca", ca.root, "--name",
                                                        "host.test") as proxy:
                def serve():
                    s, _ = behind.accept()
                    s.settimeout(at_most(20))
                    with server_context(build, version).wrap_socket(s, server_side=True,
                                                                    suppress_ragged_eofs=False) as tls:
                        assert read_all(tls) == b"the question"
                        tls.sendall(answer)
                        tls.unwrap().close()
                server = threading.Thread(target=serve)
                server.start()
                client = tls_client(build, proxy, version) if own else proxy.connect()
                with client:
                    client.sendall(b"the question")
                    if own:
                        say_end(client)
                    else:
                        client.shutdown(socket.SHUT_WR)
                    assert read_rest(client) == answer
                server.join(20)
                assert not server.is_alive(), "the proxy's close_notify did not come"
                proxy.stop()
                assert proxy.errors() == "", proxy.errors()


def test_a_stream_that_is_cut_off_is_passed_on_as_a_reset(build, backend):
    for version in VERSIONS:
        with terminating(build, backend) as (proxy, behind):
            client, server = tls_pair(build, proxy, behind, version)
            client.sendall(b"pay 100")
            assert server.recv(100) == b"pay 100"
            client.detach_and_close = None
            fd = client.detach()  # no close_notify
            os.close(fd)
            assert meets_reset(server), "a cut looked like a regular end"
            server.close()
            proxy.stop()


def test_a_reset_is_passed_on(build, backend):
    with terminating(build, backend) as (proxy, behind):
        client, server = tls_pair(build, proxy, behind)
        client.sendall(b"x")
        assert server.recv(10) == b"x"
        reset(server)
        try:
            read_all(client)
            raise AssertionError("it looked like a regular end")
        except (ConnectionResetError, ssl.SSLEOFError):
            pass
        client.close()
        client, server = tls_pair(build, proxy, behind)
        client.sendall(b"x")
        assert server.recv(10) == b"x"
        reset(client)
        assert meets_reset(server), "it looked like a regular end"
        server.close()
        proxy.stop()
        assert proxy.errors() == "", proxy.errors()


# ---- both ways at once, and slowly ----

def exchange(client, data):
    """Sends all of it and receives as much meanwhile, in one thread: Python's TLS sockets do not stand two."""
    client.setblocking(False)
    got, sent, n = hashlib.sha256(), 0, 0
    while n < len(data):
        with contextlib.suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError):
            while sent < len(data):
                sent += client.send(data[sent:sent + 65536])
        with contextlib.suppress(ssl.SSLWantReadError):
            while n < len(data):
                part = client.recv(1 << 16)
                assert part, f"it ends after {n} bytes"
                got.update(part)
                n += len(part)
        if n < len(data):
            ready = select.select([client], [client] if sent < len(data) else [], [], 20)
            assert ready[0] or ready[1], f"nothing moves: {sent} bytes there, {n} back"
    return got.digest()


def test_sixteen_megabytes_both_ways_at_once(build, backend):
    """A client speaks TLS to one proxy, that to another, that plainly to an echo: every byte is encrypted twice."""
    with echo_server() as echo, tlsproxy(build, backend, echo, *authority(build).own("good")) as inner, \
            tlsproxy(build, backend, inner.port, *authority(build).own("good"), "--tls", "--ca", authority(build).root,
                     "--name", "host.test") as outer:
        for version in VERSIONS:
            data = os.urandom((2 if outer.sanitized else 16) << 20)
            with tls_client(build, outer, version) as client:
                assert exchange(client, data) == hashlib.sha256(data).digest()
                client.settimeout(at_most(20))
                client.unwrap()
        outer.stop()
        inner.stop()
        assert outer.errors() == inner.errors() == "", outer.errors() + inner.errors()


def test_a_slow_reader_stops_the_sender(build, backend):
    with terminating(build, backend) as (proxy, behind):
        tls_client(build, proxy).close()  # what OpenSSL makes once is made now
        behind.accept()[0].close()
        ends = [tls_pair(build, proxy, behind) for _ in range(20)]
        before = proxy.rss_kb()
        sent = 0
        for _ in range(3):
            for _, server in ends:
                server.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sent += server.send(bytes(1 << 20))
            time.sleep(0.2)
        grown = proxy.rss_kb() - before
        # For each: a chunk in the frame, a writer's 64 KB and a chunk, once plain and once encrypted.
        most = len(ends) * 700 + (8192 if backend == "uring" else 0)
        assert proxy.sanitized or grown < most, f"{grown} KB for {len(ends)} connections"
        idle = proxy.cpu_seconds()
        time.sleep(0.3)
        assert proxy.sanitized or proxy.cpu_seconds() - idle <= 0.05, "it is busy with senders that it has stopped"
        for client, server in ends:
            reset(client)
            server.close()
        proxy.stop()


# ---- the proxy's own end ----

def test_sigterm_lets_a_transfer_finish(build, backend):
    data = os.urandom(8 << 20)
    with terminating(build, backend) as (proxy, behind):
        client, server = tls_pair(build, proxy, behind)
        sender = threading.Thread(target=lambda: (server.sendall(data), server.close()))
        sender.start()
        got = client.recv(1000)
        proxy.signal()
        proxy.wait_for(proxy.output, "stopping, 1 connections go on")
        assert got + read_all(client) == data
        client.unwrap().close()
        sender.join()
        assert proxy.end() == 0, proxy.errors()
        assert "0 cut" in proxy.output()


def test_a_second_sigterm_cuts_what_is_left(build, backend):
    with terminating(build, backend) as (proxy, behind):
        ends = [tls_pair(build, proxy, behind) for _ in range(3)]
        proxy.signal()
        proxy.wait_for(proxy.output, "stopping, 3 connections go on")
        proxy.signal()
        assert proxy.end() == 1
        for client, server in ends:
            with contextlib.suppress(OSError):  # a cut: a reset, or an end without close_notify
                read_all(client)
                raise AssertionError("it looked like a regular end")
            client.close()
            server.close()
        assert "3 cut" in proxy.output() and "3 connections were cut short" in proxy.errors()


# ---- who does not belong here ----

def test_plain_text_and_silence_are_turned_away(build, backend):
    with terminating(build, backend) as (proxy, behind):
        with proxy.connect() as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                read_all(s)
        proxy.wait_for(proxy.errors, "a client was turned away: .*http request")
        began = time.monotonic()
        with proxy.connect() as silent:
            client, server = tls_pair(build, proxy, behind)  # nobody waits for the silent one
            client.close()
            server.close()
            with contextlib.suppress(ConnectionResetError):
                assert read_all(silent) == b""
            took = time.monotonic() - began
            assert 9 < took < at_most(15), f"the silent one was turned away after {took:.1f} s"
        proxy.stop()
        assert "2 turned away" in proxy.output(), proxy.output()


# ---- curl, s_client, s_server, gnutls-cli, PostgreSQL ----

def test_curl_downloads_are_the_same(build, backend):
    curl, ca = tool("curl"), authority(build)
    with tempfile.TemporaryDirectory() as folder, Program(build, backend, "httpd", "127.0.0.1:0", folder) as httpd:
        data = os.urandom((4 if httpd.sanitized else 50) << 20)
        with open(f"{folder}/big", "wb") as f:
            f.write(data)
        want = hashlib.sha256(data).digest()

        def fetch(*arguments):
            done = subprocess.run([curl, "-sS", "--fail", "--noproxy", "*", *arguments], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=at_most(60))
            assert done.returncode == 0, done.stderr
            return hashlib.sha256(done.stdout).digest()

        with tlsproxy(build, backend, httpd.port, *ca.own("inner_leaf")) as inner, \
                tlsproxy(build, backend, inner.port, "--tls", "--ca", ca.root, "--name", "host.test") as outer:
            url = f"https://host.test:{inner.port}/big"
            there = ["--cacert", ca.root, "--resolve", f"host.test:{inner.port}:127.0.0.1"]
            assert fetch(*there, url) == want
            assert fetch(*there, "--tls-max", "1.2", url) == want
            assert fetch(f"http://127.0.0.1:{outer.port}/big") == want  # plain, encrypted, plain
            refused = subprocess.run([curl, "-sS", "--noproxy", "*", "--cacert", ca.root, "--resolve",
                                      f"other.test:{inner.port}:127.0.0.1", f"https://other.test:{inner.port}/big"],
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            assert refused.returncode == 60, refused.stderr  # curl's word for it
            outer.stop()
            inner.stop()
            assert outer.errors() == "", outer.errors()
        httpd.stop()


def test_s_client_agrees_on_a_protocol_and_a_version(build, backend):
    with echo_server() as echo, \
            tlsproxy(build, backend, echo, *authority(build).own("good"), "--alpn", "h2,http/1.1") as proxy:
        trusting = ["-CAfile", authority(build).root, "-verify_return_error"]
        for version, name in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            out, answered = ask_s_client(proxy.port, *trusting, version, "-alpn", "http/1.1,h2")
            assert answered and "ALPN protocol: h2" in out and f"New, {name}" in out, out
            out, answered = ask_s_client(proxy.port, *trusting, version, "-alpn", "http/1.1")
            assert answered and "ALPN protocol: http/1.1" in out, out
            out, answered = ask_s_client(proxy.port, *trusting, version)
            assert answered and "No ALPN negotiated" in out, out
            out, answered = ask_s_client(proxy.port, *trusting, version, "-alpn", "spdy/1")
            assert not answered and "no application protocol" in out, out
        for old in ("-tls1", "-tls1_1"):
            out, answered = ask_s_client(proxy.port, *trusting, old, "-cipher", "ALL:@SECLEVEL=0")
            assert not answered and "alert protocol version" in out, out
        proxy.stop()


def test_s_client_resumes_its_session(build, backend):
    with echo_server() as echo, tlsproxy(build, backend, echo, *authority(build).own("good")) as proxy:
        trusting = ["-CAfile", authority(build).root, "-verify_return_error"]
        out, _ = s_client(proxy.port, *trusting, "-tls1_2", "-reconnect")
        assert len(re.findall(r"^New, TLSv1.2", out, re.M)) == 1 and len(re.findall(r"^Reused, TLSv1.2", out, re.M)) == 5, out
        with tempfile.TemporaryDirectory() as folder:
            out, answered = ask_s_client(proxy.port, *trusting, "-tls1_3", "-sess_out", f"{folder}/session")
            assert answered and "New, TLSv1.3" in out, out
            out, answered = ask_s_client(proxy.port, *trusting, "-tls1_3", "-sess_in", f"{folder}/session")
            assert answered and "Reused, TLSv1.3" in out, out
        proxy.stop()


def test_gnutls_cli_resumes_its_session(build, backend):
    with echo_server() as echo, tlsproxy(build, backend, echo, *authority(build).own("good")) as proxy:
        for version in ("1.2", "1.3"):
            out, _ = ask_gnutls(build, proxy.port, "--resume", "--x509cafile", authority(build).root, "--verify-hostname",
                                "host.test", "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}")
            assert "This is a resumed session" in out, out
        proxy.stop()


def test_the_proxy_resumes_its_session_with_s_server(build, backend):
    ca = authority(build)
    for version in ("-tls1_2", "-tls1_3"):
        with s_server("-www", version, *ca.own_openssl("good")) as (_, port, _printed), \
                tlsproxy(build, backend, port, "--tls", "--ca", ca.root, "--name", "host.test") as proxy:
            pages = []
            for _ in range(3):
                with proxy.connect() as s:
                    s.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    pages.append(read_all(s).decode())
            assert "New, TLSv1" in pages[0], pages[0]
            assert "Reused, TLSv1" in pages[1] and "Reused, TLSv1" in pages[2], pages[1]
            proxy.stop()


def test_s_client_takes_new_keys_and_may_not_renegotiate(build, backend):
    with echo_server() as echo, tlsproxy(build, backend, echo, *authority(build).own("good")) as proxy:
        trusting = ["-CAfile", authority(build).root, "-verify_return_error", "-ign_eof"]

        def talk(version, *steps):
            """Each a line, a command of s_client's ("K", "k", "R") or text, and how often which words must have come before
            the next one is given: it reads commands by the piece that arrives."""
            process = subprocess.Popen([tool("openssl"), "s_client", "-connect", f"127.0.0.1:{proxy.port}", *trusting[:3],
                                        version], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, text=True, bufsize=0)
            out = []
            reader = threading.Thread(target=lambda: out.extend(process.stdout))
            reader.start()
            try:
                for line, words, times in steps:
                    with contextlib.suppress(BrokenPipeError):
                        process.stdin.write(line + "\n")
                    deadline = time.monotonic() + at_most(20)
                    while "".join(out).count(words) < times and process.poll() is None and time.monotonic() < deadline:
                        time.sleep(0.01)
                process.stdin.close()
                process.wait(at_most(20))
            finally:
                process.kill()
                process.wait()
                reader.join()
            return "".join(out)

        out = talk("-tls1_3", ("before", "before\n", 1), ("K", "KEYUPDATE", 1), ("between", "between\n", 1),
                   ("k", "KEYUPDATE", 2), ("after", "after\n", 1))
        assert "before\n" in out and "between\n" in out and "after\n" in out and out.count("KEYUPDATE") == 2, out
        out = talk("-tls1_2", ("before", "before\n", 1), ("R", "no renegotiation", 1), ("after", "after\n", 0))
        assert "before\n" in out and "no renegotiation" in out and "after\n" not in out, out
        proxy.stop()


def test_gnutls_cli_takes_new_keys(build, backend):
    with echo_server() as echo, tlsproxy(build, backend, echo, *authority(build).own("good")) as proxy:
        root = peers(build, "gnutls-bin")
        out = subprocess.run([f"{root}/usr/bin/gnutls-cli", "-p", str(proxy.port), "--x509cafile", authority(build).root,
                              "--verify-hostname", "host.test", "--inline-commands", "127.0.0.1"], text=True,
                             input="before\n^rekey^\nafter\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             env=peer_env(root), timeout=at_most(30)).stdout
        assert "before\n" in out and "after\n" in out, out
        proxy.stop()


def test_starttls_as_postgresql_does(build, backend):
    with echo_server() as echo, \
            tlsproxy(build, backend, echo, *authority(build).own("good"), "--postgres") as proxy:
        for version in ("-tls1_2", "-tls1_3"):
            out, answered = ask_s_client(proxy.port, "-starttls", "postgres", version, "-CAfile", authority(build).root,
                                         "-verify_return_error", "-verify_hostname", "host.test", "-quiet")
            assert answered, out
        with proxy.connect() as s:  # it does not ask
            s.sendall(struct.pack(">II", 8, 80877102))
            with contextlib.suppress(ConnectionResetError):
                assert read_all(s) == b""
        proxy.wait_for(proxy.errors, "does not ask for TLS as PostgreSQL's clients do")
        with proxy.connect() as s:  # and one that has something slipped in behind its question (CVE-2021-23222)
            s.sendall(struct.pack(">II", 8, 80877103) + b"Q\0\0\0\x0bDROP x;\0")
            assert s.recv(1) == b"S"
            with contextlib.suppress(OSError):
                client_context(build).wrap_socket(s, server_hostname="host.test")
                raise AssertionError("what was injected was taken")
        proxy.wait_for(proxy.errors, "wrong version number")
        proxy.stop()
        assert "2 connections" in proxy.output(), proxy.output()


main("tlsproxy", globals())
