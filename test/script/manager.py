"""A service manager of a few lines, for tests and by hand: it opens sockets, starts a program, hears what it says.

    manager.py [--listen ADDRESS:PORT[=NAME]]... [--watchdog SECONDS] PROGRAM [ARGUMENT]...
"""
import argparse
import fcntl
import os
import signal
import socket
import subprocess
import sys

FIRST_FD = 3


class Manager:
    def __init__(self, listen=(), watchdog=None):
        """`listen`: pairs of an address and a name."""
        self.sockets = [(socket.create_server(address), name) for address, name in listen]
        self.heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.heard.bind("")  # the kernel chooses an abstract name
        self.watchdog = watchdog

    def environment(self):
        env = {"NOTIFY_SOCKET": "@" + self.heard.getsockname()[1:].decode()}
        if self.watchdog:
            env["WATCHDOG_USEC"] = str(int(self.watchdog * 1e6))
        if self.sockets:
            env["LISTEN_FDS"] = str(len(self.sockets))
            env["LISTEN_FDNAMES"] = ":".join(name for _, name in self.sockets)
        return env

    @staticmethod
    def command(command):
        """The variables name the process, whose number only its own start knows."""
        return ["sh", "-c", 'export LISTEN_PID=$$ WATCHDOG_PID=$$; exec "$@"', "sh", *command]

    def popen_options(self):
        """What subprocess needs to hand the sockets over."""
        n = len(self.sockets)

        def place():
            high = [fcntl.fcntl(s, fcntl.F_DUPFD, FIRST_FD + n) for s, _ in self.sockets]
            for i, fd in enumerate(high):
                os.dup2(fd, FIRST_FD + i)
        return {"preexec_fn": place if n else None, "pass_fds": range(FIRST_FD, FIRST_FD + n)}

    def hear(self, seconds=20):
        """The next message, None if none comes."""
        self.heard.settimeout(seconds)
        try:
            return self.heard.recv(4096).decode()
        except (TimeoutError, socket.timeout):
            return None

    def close(self):
        for s in [self.heard] + [s for s, _ in self.sockets]:
            s.close()


def by_hand():
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", action="append", default=[])
    parser.add_argument("--watchdog", type=float)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    listen = []
    for text in args.listen:
        address, _, name = text.partition("=")
        host, _, port = address.rpartition(":")
        listen.append(((host, int(port)), name))
    manager = Manager(listen, args.watchdog)
    process = subprocess.Popen(manager.command(args.command), env={**os.environ, **manager.environment()},
                               **manager.popen_options())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program has it too
    while process.poll() is None:
        message = manager.hear(0.2)
        if message:
            print("manager:", message.replace("\n", " "), flush=True)
    sys.exit(process.returncode)


if __name__ == "__main__":
    by_hand()
