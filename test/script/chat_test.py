"""What examples/chat.c promises, from the outside: chat_test.py BUILD [WORD]. Prints TAP."""
import contextlib
import socket
import struct
import time

from programs import Program, at_most, main


class Guest:
    """A client with a name; reads by lines."""

    def __init__(self, chat, name=None, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(at_most(20))
        self.socket.connect(("127.0.0.1", chat.port))
        self.file = self.socket.makefile("rb")
        assert self.line() == "* your name?"
        if name:
            self.say(name)
            welcome = self.line()
            assert welcome.startswith(f"* welcome, {name}; "), welcome

    def say(self, text):
        self.socket.sendall(text.encode() + b"\n")

    def line(self):
        return self.file.readline().decode().rstrip("\n")

    def rest(self):
        return self.file.read().decode()

    def close(self):
        self.file.close()
        self.socket.close()


@contextlib.contextmanager
def served(build, backend, **more):
    with Program(build, backend, "chat", "127.0.0.1:0", **more) as chat:
        yield chat


def test_what_one_says_all_others_hear(build, backend):
    with served(build, backend) as chat:
        guests = []
        for i in range(20):
            guest = Guest(chat, f"g{i}")
            for other in guests:
                assert other.line() == f"* g{i} has come"
            guests.append(guest)
        for i in (3, 7):
            guests[i].say(f"hello from {i}")
        for i, guest in enumerate(guests):
            for said in (3, 7):
                if said != i:
                    assert guest.line() == f"g{said}: hello from {said}"
        guests[0].say("/who")
        here = guests[0].line()
        assert here.startswith("* here: ") and set(here.split()[2:]) == {f"g{i}" for i in range(20)}, here
        guests[5].say("/quit")
        assert guests[5].rest() == ""
        assert guests[6].line() == "* g5 has left (bye)"
        guests[8].socket.shutdown(socket.SHUT_WR)
        assert guests[8].rest() == "* g5 has left (bye)\n"
        assert guests[6].line() == "* g8 has left (bye)"
        guests[9].socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        guests[9].close()
        assert guests[6].line() == "* g9 has left (connection lost)"
        chat.stop()
        assert guests[6].rest() == "* the server is going down\n"
        assert chat.errors() == "", chat.errors()


def test_a_full_room_can_be_listed(build, backend):
    with served(build, backend) as chat:
        first = Guest(chat, "first")
        guests = [Guest(chat, f"guest-number-{i:07}") for i in range(150)]
        for i in range(150):
            assert first.line() == f"* guest-number-{i:07} has come"
        first.say("/who")
        names = []
        while len(names) < 151:
            line = first.line()
            assert line.startswith("* here: "), line
            names += line.split()[2:]
        assert len(set(names)) == 151
        for guest in guests:
            guest.close()
        chat.stop()


def test_names_are_checked(build, backend):
    with served(build, backend) as chat:
        first = Guest(chat, "ana")
        second = Guest(chat)
        for name, answer in [("ANA", "taken"), ("x" * 21, "too long"), ("a b", "letters"), ("\x1b[2J", "letters")]:
            second.say(name)
            line = second.line()
            assert answer in line and line.endswith("your name?"), line
        second.say("bob")
        assert second.line().startswith("* welcome, bob; 2 here")
        assert first.line() == "* bob has come"
        chat.stop()
        assert chat.errors() == "", chat.errors()


def test_lines_are_bounded_and_harmless(build, backend):
    with served(build, backend) as chat:
        ana, bob = Guest(chat, "ana"), Guest(chat, "bob")
        assert ana.line() == "* bob has come"
        ana.say("x" * 1000)
        assert bob.line() == "ana: " + "x" * 1000
        for n in (1001, 1500, 5000, 300000):
            ana.say("y" * n)
            assert ana.line() == "* longer than 1000 bytes: nobody heard that"
        ana.say("\x1b[31mred\x00\x07  \r")
        assert bob.line() == "ana: ?[31mred??"
        ana.say("/nothing")
        assert ana.line() == "* /who and /quit is all I know"
        ana.socket.sendall(b"\n \nno end")
        ana.socket.shutdown(socket.SHUT_WR)
        assert bob.line() == "ana: no end"
        assert bob.line() == "* ana has left (bye)"
        chat.stop()
        assert chat.errors() == "", chat.errors()


def test_a_slow_client_is_dropped_and_holds_up_nobody(build, backend):
    with served(build, backend) as chat:
        slow = Guest(chat, "slow", receive_buffer=4096)
        talker, listener = Guest(chat, "talker"), Guest(chat, "listener")
        assert talker.line() == "* listener has come"
        before = chat.rss_kb()
        said = 0
        dropped = False
        while not dropped:
            assert said < 40000, "the slow client stayed"
            for _ in range(50):
                talker.say("z" * 900)
            said += 50
            heard = 0
            while heard < 50:
                line = listener.line()
                if line == "* slow has left (too slow)":
                    dropped = True
                else:
                    assert line == "talker: " + "z" * 900
                    heard += 1
        assert talker.line() == "* slow has left (too slow)"
        assert chat.sanitized or chat.rss_kb() - before < 2000, "a bounded queue should cost little"
        slow.close()
        chat.stop()
        assert "slow left: too slow" in chat.output() and chat.errors() == "", chat.errors()


def test_sigterm_says_goodbye_and_waits_for_nobody_long(build, backend):
    with served(build, backend) as chat:
        ana, nameless = Guest(chat, "ana"), Guest(chat)
        mute = Guest(chat, "mute", receive_buffer=4096)
        assert ana.line() == "* mute has come"
        began = time.monotonic()
        chat.signal()
        assert ana.rest() == "* the server is going down\n"
        assert chat.sanitized or time.monotonic() - began < at_most(2), "a client that reads waits for those that do not"
        nameless.close()
        assert mute.rest().endswith("* the server is going down\n")
        assert chat.end() == 0 and chat.errors() == "", chat.errors()


def test_descriptors_may_run_out_and_come_back(build, backend):
    with served(build, backend, limit_fds=64) as chat:
        sockets = [chat.connect() for _ in range(120)]  # more would not fit into the backlog
        chat.wait_for(chat.errors, "Too many open files|out of system resource")
        time.sleep(0.1)
        idle = chat.cpu_seconds()
        time.sleep(0.5)
        assert chat.cpu_seconds() - idle <= 0.05, "it is busy while it has no descriptors"
        for s in sockets:
            s.close()
        Guest(chat, "late").close()
        chat.stop()


main("chat", globals())
