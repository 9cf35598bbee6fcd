"""What the TLS tests share: an authority, the proxy of examples/, and OpenSSL's and GnuTLS's programs around it."""
import atexit
import collections
import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading

from programs import Program, Skip, at_most, free_port, peer_env, peers, read_output, tool, until


class Server(collections.namedtuple("Server", "certificate host refused unloadable")):
    @property
    def words(self):
        """What coil says of it; the table has OpenSSL's words."""
        return f"it is not for {self.host}," if self.refused and "mismatch" in self.refused else self.refused


Client = collections.namedtuple("Client", "certificate demand refused subject")


class Authority:
    """A folder of certificates, made by test_ca, and its table of who is accepted."""

    def __init__(self, build):
        program = next((p for p in (f"{build}/test_ca", f"{build}/test/script/test_ca") if os.path.exists(p)), None)
        if not program:
            raise Skip("test_ca is not built here: there is no OpenSSL")
        self.folder = tempfile.mkdtemp(prefix="coil-ca-")
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        table = subprocess.run([program, self.folder], check=True, stdout=subprocess.PIPE, text=True).stdout
        self.servers, self.clients = [], []
        for line in table.splitlines():
            kind, *fields = line.split("\t")
            fields = [None if f == "-" else f for f in fields]
            if kind == "server":
                self.servers.append(Server(*fields))
            else:
                self.clients.append(Client(*fields))
        for name in {case.certificate for case in self.servers + self.clients} - {None}:
            self._split(name)

    def _split(self, name):
        """s_server wants the certificate and the rest of its chain in two files."""
        with open(self.pem(name)) as f:
            rest = f.read().split("-----END CERTIFICATE-----\n")[1:-1]
        if rest:
            with open(f"{self.folder}/{name}.rest", "w") as f:
                f.write("".join(part + "-----END CERTIFICATE-----\n" for part in rest))

    def pem(self, name):
        return f"{self.folder}/{name}.pem"

    def key(self, name):
        return f"{self.folder}/{name}.key"

    @property
    def root(self):
        return self.pem("root")

    def own(self, name):
        """As options of curl and of the proxy."""
        return ["--cert", self.pem(name), "--key", self.key(name)]

    def own_openssl(self, name):
        rest = f"{self.folder}/{name}.rest"
        return ["-cert", self.pem(name), "-key", self.key(name),
                *(["-cert_chain", rest] if os.path.exists(rest) else [])]


_authorities = {}


def authority(build):
    if build not in _authorities:
        _authorities[build] = Authority(build)
    return _authorities[build]


def tlsproxy(build, backend, port, *options):
    return Program(build, backend, "tlsproxy", *options, "127.0.0.1:0", "127.0.0.1", port)


@contextlib.contextmanager
def listener():
    with socket.create_server(("127.0.0.1", 0), backlog=100) as s:
        s.settimeout(at_most(20))
        yield s, s.getsockname()[1]


@contextlib.contextmanager
def echo_server():
    """Sends back what comes, then its end; a port."""
    def serve(s):
        with s, contextlib.suppress(OSError):
            while part := s.recv(65536):
                s.sendall(part)
            s.shutdown(socket.SHUT_WR)

    def accept(listening):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    with listener() as (s, port):
        s.settimeout(None)
        thread = threading.Thread(target=accept, args=(s,), daemon=True)
        thread.start()
        yield port
        s.shutdown(socket.SHUT_RDWR)
    thread.join()


@contextlib.contextmanager
def s_server(*options):
    """OpenSSL's server, which sends every line back in reverse (-rev) unless options say otherwise; (process, port, what
    it printed so far)."""
    out = tempfile.TemporaryFile("w+")
    process = subprocess.Popen([tool("openssl"), "s_server", "-accept", "127.0.0.1:0", *options], stdin=subprocess.PIPE,
                               stdout=out, stderr=subprocess.STDOUT)

    def printed():
        return read_output(out)

    try:
        def ready():
            assert process.poll() is None, printed()
            return re.search(r"ACCEPT \S+:(\d+)", printed())
        until("s_server listens", ready)
        yield process, int(ready().group(1)), printed
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        out.close()


def s_client(port, *options, say="", seconds=30):
    """What OpenSSL's client printed, and its exit status. It ends when the server does, or after `say`."""
    done = subprocess.run([tool("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", *options], input=say, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=at_most(seconds))
    return done.stdout, done.returncode


def ask_s_client(port, *options, line="ping"):
    """Sends a line and waits until it has come back (reversed or not); (its output, was it answered?)"""
    process = subprocess.Popen([tool("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", *options, "-no_ign_eof"], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return _ask(process, line)


def ask_gnutls(build, port, *options, line="ping"):
    root = peers(build, "gnutls-bin")
    process = subprocess.Popen([f"{root}/usr/bin/gnutls-cli", "-p", str(port), *options, "127.0.0.1"], text=True,
                               env=peer_env(root), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    return _ask(process, line)


def _ask(process, line):
    killer = threading.Timer(at_most(30), process.kill)
    killer.start()
    printed, answered = [], False
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(line + "\n")
            process.stdin.flush()
        for got in process.stdout:
            printed.append(got)
            if got.rstrip("\r\n") in (line, line[::-1]):
                answered = True
                break
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        printed += process.stdout.readlines()
    finally:
        process.stdout.close()
        process.wait()
        killer.cancel()
    return "".join(printed), answered


def name_options(host):
    """How s_client is told whom to ask for and to expect."""
    if ":" in host or host.replace(".", "").isdigit():
        return ["-verify_ip", host, "-noservername"]
    return ["-verify_hostname", host, "-servername", host]


__all__ = ["Authority", "Program", "Skip", "ask_gnutls", "ask_s_client", "authority", "echo_server", "free_port",
           "listener", "name_options", "s_client", "s_server", "tlsproxy"]
