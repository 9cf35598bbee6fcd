"""examples/resolve against dnsmasq, and against an answerer of our own that lies.

The liar reads what to do from the first label of the name it is asked for; each lie has one outcome that a user
can understand, and none is believed.
"""
import os
import re
import socket
import struct
import subprocess
import threading
import time

import programs
from programs import Skip, at_most, main, peer_env, peers, until

A, CNAME, AAAA = 1, 5, 28


def resolve(build, backend, port, *arguments, stdin=None, status=0):
    """Rows by name, and the line of totals."""
    path = os.path.join(build, "examples", "resolve")
    if not os.path.exists(path):
        raise Skip("examples/resolve is not built here")
    done = subprocess.run([path, "-s", f"127.0.0.1:{port}", *map(str, arguments)], input=stdin, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=at_most(120),
                          env={**os.environ, "COIL_BACKEND": backend})
    assert done.returncode == status, f"status {done.returncode}: {done.stdout}{done.stderr}"
    assert "Sanitizer" not in done.stderr, done.stderr
    rows = [re.fullmatch(r"(\S+) +[\d.]+ ms  (.*)", line) for line in done.stdout.splitlines()]
    assert all(rows), done.stdout
    totals = {word: int(n) for n, word in re.findall(r"(\d+) (names|found|not there|failed|questions|asked again|over "
                                                     r"TCP|wrong answers)", done.stderr)}
    return [(row.group(1), row.group(2)) for row in rows], totals


def free_port_of_both():
    """One that is free for UDP and TCP."""
    for _ in range(100):
        tcp, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp.bind(("127.0.0.1", 0))
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
            continue
        return tcp, udp
    raise AssertionError("no port is free for both")


# ---- dnsmasq ----

class Dnsmasq:
    def __init__(self, build, *arguments):
        root = peers(build, "dnsmasq-base")
        tcp, udp = free_port_of_both()
        self.port = tcp.getsockname()[1]
        tcp.close()
        udp.close()
        self.process = subprocess.Popen(
            [f"{root}/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root",
             f"--port={self.port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts",
             "--local=/test/", "--log-facility=-", *arguments],
            env=peer_env(root), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        until("dnsmasq listens", self.listens)

    def listens(self):
        if self.process.poll() is not None:
            raise Skip(f"dnsmasq does not run here: {self.process.stderr.read().strip()}")
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


def test_answers_of_every_kind_at_dnsmasq(build, backend):
    many = [f"--host-record=many.test,10.0.{i // 250}.{i % 250 + 1}" for i in range(120)]
    with Dnsmasq(build, "--host-record=one.test,192.0.2.1,2001:db8::1", "--host-record=two.test,192.0.2.2",
                 "--cname=alias.test,two.test", *many) as d:
        rows, totals = resolve(build, backend, d.port, "one.test", "alias.test", "none.test", "many.test", status=1)
    assert rows[0] == ("one.test", "192.0.2.1, 2001:db8::1"), rows
    assert rows[1] == ("alias.test", "two.test -> 192.0.2.2"), rows
    assert rows[2] == ("none.test", "no such name"), rows
    assert rows[3][0] == "many.test" and rows[3][1].count(",") == 15, rows  # as many as are kept
    assert totals["found"] == 3 and totals["not there"] == 1 and totals["failed"] == 0, totals
    assert totals["over TCP"] == 1 and totals["wrong answers"] == 0, totals  # an answer that is cut


def test_a_thousand_names_from_standard_input_in_order(build, backend):
    names = [f"h{i}.test" for i in range(1000)]
    records = [f"--host-record=h{i}.test,10.1.{i // 250}.{i % 250 + 1}" for i in range(1000)]
    with Dnsmasq(build, "--dns-forward-max=1000", *records) as d:
        rows, totals = resolve(build, backend, d.port, "-4", "-n", 50, stdin="\n".join(names))
    assert [row[0] for row in rows] == names
    assert all(row[1] == f"10.1.{i // 250}.{i % 250 + 1}" for i, row in enumerate(rows)), rows
    assert totals["names"] == totals["found"] == 1000, totals


# ---- a liar ----

def name_wire(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


class Query:
    def __init__(self, packet):
        self.id, labels, at = packet[:2], [], 12
        while packet[at]:
            labels.append(packet[at + 1:at + 1 + packet[at]].decode())
            at += 1 + packet[at]
        self.name = ".".join(labels)
        self.type = struct.unpack(">H", packet[at + 1:at + 3])[0]
        self.question = packet[12:at + 5]

    def answer(self, *records, flags=0x8180, id=None, question=None, counted=None):
        return ((id or self.id) + struct.pack(">HHHHH", flags, 1, len(records) if counted is None else counted, 0, 0) +
                (question or self.question) + b"".join(records))


def record(data, rtype=A, owner=b"\xc0\x0c", n=None):
    return owner + struct.pack(">HHIH", rtype, 1, 60, len(data) if n is None else n) + data


def address(text):
    return record(socket.inet_aton(text))


GOOD = "192.0.2.7"
FALSE = "203.0.113.66"  # must never be printed


class Liar:
    """Answers A questions by the first label; AAAA questions have no address."""

    def __init__(self):
        self.tcp, self.udp = free_port_of_both()
        self.other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.port = self.tcp.getsockname()[1]
        self.tcp.listen(20)
        self.ids, self.ports, self.asked = [], [], {}
        self.ending = False
        self.threads = [threading.Thread(target=self.serve_udp), threading.Thread(target=self.serve_tcp)]
        for thread in self.threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ending = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"", ("127.0.0.1", self.port))
        socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in self.threads:
            thread.join()
        for sock in (self.tcp, self.udp, self.other):
            sock.close()

    def serve_udp(self):
        while True:
            packet, peer = self.udp.recvfrom(4096)
            if self.ending:
                return
            q = Query(packet)
            self.ids.append(q.id)
            self.ports.append(peer[1])
            self.asked[q.name] = self.asked.get(q.name, 0) + 1
            lie = getattr(self, "lie_" + q.name.split(".")[0], None)
            if q.type == AAAA or lie is None:
                self.udp.sendto(q.answer(), peer)
            else:
                for answer in lie(q, peer):
                    self.udp.sendto(answer, peer)

    def serve_tcp(self):
        while True:
            conn, _ = self.tcp.accept()
            if self.ending:
                conn.close()
                return
            thread = threading.Thread(target=self.serve_client, args=(conn,))
            self.threads.append(thread)
            thread.start()

    def serve_client(self, conn):
        with conn:
            conn.settimeout(at_most(20))
            head = conn.recv(2, socket.MSG_WAITALL)
            q = Query(conn.recv(struct.unpack(">H", head)[0], socket.MSG_WAITALL))
            try:
                for piece in getattr(self, "tcp_" + q.name.split(".")[0])(q):
                    conn.sendall(piece)
                    time.sleep(0.01)
            except ConnectionError:
                pass  # it has heard enough

    # Over UDP: what is sent for a question.

    def lie_good(self, q, peer):
        yield q.answer(address(GOOD))

    def lie_wrongid(self, q, peer):
        yield q.answer(address(FALSE), id=bytes([q.id[0] ^ 1, q.id[1]]))

    def lie_wrongquestion(self, q, peer):
        yield q.answer(address(FALSE), question=name_wire("bank.test") + q.question[-4:])

    def lie_noanswer(self, q, peer):
        yield q.answer(address(FALSE), flags=0x0100)  # a question

    def lie_otherport(self, q, peer):
        self.other.sendto(q.answer(address(FALSE)), peer)
        return ()

    def lie_truthlast(self, q, peer):
        self.other.sendto(q.answer(address(FALSE)), peer)
        for i in range(20):
            yield q.answer(address(FALSE), id=bytes([q.id[0] ^ (i + 1), q.id[1]]))
        yield b""
        yield q.answer(address(GOOD))

    def lie_flood(self, q, peer):
        for i in range(300):
            yield q.answer(address(FALSE), id=struct.pack(">H", (struct.unpack(">H", q.id)[0] + 1 + i) % 65536))

    def lie_loop(self, q, peer):
        here = 12 + len(q.question)
        yield q.answer(record(socket.inet_aton(FALSE), owner=struct.pack(">H", 0xc000 | here)))

    def lie_pingpong(self, q, peer):
        here = 12 + len(q.question)
        yield q.answer(record(struct.pack(">HH", 0xc000 | here + 14, 0xc000 | here + 12), CNAME))

    def lie_selfalias(self, q, peer):
        yield q.answer(record(b"\xc0\x0c", CNAME))

    def lie_half(self, q, peer):
        yield q.answer(address(FALSE))[:-3]

    def lie_header(self, q, peer):
        yield q.answer()[:9]

    def lie_length(self, q, peer):
        yield q.answer(record(socket.inet_aton(FALSE), n=4000))

    def lie_counted(self, q, peer):
        yield q.answer(address(FALSE), counted=65535)

    def lie_strange(self, q, peer):
        yield q.answer(record(b"\x05\x1b[31m\0", CNAME), record(socket.inet_aton(GOOD), owner=b"\x05\x1b[31m\0"))

    def lie_large(self, q, peer):
        yield q.answer(*[address(FALSE)] * 200)  # more than we said we take

    def lie_silent(self, q, peer):
        return ()

    def lie_second(self, q, peer):
        if self.asked[q.name] >= 3:  # its A and AAAA questions come once each before
            yield q.answer(address(GOOD))

    def lie_servfail(self, q, peer):
        yield q.answer(flags=0x8182)

    def cut(self, q, peer):
        yield q.answer(flags=0x8380)

    lie_cutgood = lie_cuthuge = lie_cuthangup = lie_cutagain = lie_cutsilent = cut

    # Over TCP: what is sent, in pieces.

    def tcp_cutgood(self, q):
        answer = q.answer(address(GOOD))
        packet = struct.pack(">H", len(answer)) + answer
        return [packet[i:i + 5] for i in range(0, len(packet), 5)]

    tcp_flood = tcp_cutgood

    def tcp_cuthuge(self, q):
        yield b"\xff\xff" + b"x" * 100

    def tcp_cuthangup(self, q):
        yield b"\x01\x00" + b"x" * 10

    def tcp_cutagain(self, q):
        answer = q.answer(flags=0x8380)
        yield struct.pack(">H", len(answer)) + answer

    def tcp_cutsilent(self, q):
        time.sleep(2)
        return ()


NO_SENSE, LATE = "the answer makes no sense", "no answer in time"
OUTCOMES = {
    "good": GOOD,
    "wrongid": LATE,
    "wrongquestion": LATE,
    "noanswer": LATE,
    "otherport": LATE,
    "truthlast": GOOD,
    "flood": GOOD,  # over TCP, where nobody can guess
    "loop": NO_SENSE,
    "pingpong": NO_SENSE,
    "selfalias": NO_SENSE,
    "half": NO_SENSE,
    "header": LATE,
    "length": NO_SENSE,
    "counted": NO_SENSE,
    "strange": "??31m -> " + GOOD,
    "large": LATE,
    "silent": LATE,
    "second": GOOD,
    "servfail": "the server says it failed",
    "cutgood": GOOD,
    "cuthuge": "an answer of 65535 bytes is too much",
    "cuthangup": "the server hangs up in the middle of its answer",
    "cutagain": NO_SENSE,
    "cutsilent": "no answer in time, over TCP",
    "absent": "no address",
}


def test_lies_are_not_believed(build, backend):
    with Liar() as liar:
        rows, totals = resolve(build, backend, liar.port, "-t", 0.4, "-r", 2, *[f"{lie}.test" for lie in OUTCOMES],
                               status=1)
        assert totals["wrong answers"] > 64, totals
    got = {name.split(".")[0]: words for name, words in rows}
    wrong = {lie: (got.get(lie), words) for lie, words in OUTCOMES.items() if got.get(lie) != words}
    assert not wrong, wrong
    assert FALSE not in str(rows)


def test_ids_and_ports_are_no_two_alike(build, backend):
    with Liar() as liar:
        resolve(build, backend, liar.port, "-n", 20, *[f"good.n{i}.test" for i in range(200)])
        steps = {b - a for a, b in zip(liar.ports, liar.ports[1:])}
        ids = {b[0] * 256 + b[1] for b in liar.ids}
    assert len(ids) > 390 and max(ids) - min(ids) > 30000, len(ids)  # of 400 at random out of 65536
    assert len(set(liar.ports)) > 300 and len(steps) > 100, (len(set(liar.ports)), len(steps))


def test_nobody_there_is_told_at_once_and_the_next_server_asked(build, backend):
    tcp, udp = free_port_of_both()
    port = tcp.getsockname()[1]
    tcp.close()
    udp.close()
    began = time.monotonic()
    rows, _ = resolve(build, backend, port, "-t", 10, "good.test", status=1)
    assert time.monotonic() - began < at_most(8), rows
    assert "refused" in rows[0][1].lower(), rows
    with Liar() as liar:
        rows, totals = resolve(build, backend, port, "-s", f"127.0.0.1:{liar.port}", "-t", 10, "good.test")
    assert rows == [("good.test", GOOD)] and totals["asked again"] >= 1, (rows, totals)


def test_names_that_are_none_are_told(build, backend):
    with Liar() as liar:
        long_label, long_name = "x" * 64 + ".test", ".".join(["abcdefg"] * 32)
        rows, totals = resolve(build, backend, liar.port, "a..b", ".", long_label, long_name, status=1)
    assert [row[1] for row in rows] == ["that is no name"] * 4, rows
    assert totals["questions"] == 0, totals


if __name__ == "__main__":
    main("resolve", globals(), programs.BACKENDS)
