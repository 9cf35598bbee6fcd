"""Who takes part: where a participant's programs are, how they are called, and why one cannot be had.

`command(word, kind)` gives the command for a kind of program (micro, echo, udp, ...) or raises Missing with the reason.
"""
import os
import shutil
import subprocess

BENCH = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else "python3"  # Debian's, for which uvloop is

NAMES = {"raw": "the bare call", "epoll": "raw epoll", "epoll_own": "raw epoll, own buffers", "uring": "raw io_uring",
         "uv": "libuv", "ev": "libev",
         "st": "State Threads", "go": "Go", "asio": "Asio", "tokio": "tokio", "asyncio": "asyncio",
         "asyncio_tuned": "asyncio, malloc tuned", "uvloop": "uvloop", "nginx": "nginx",
         "raw_tls": "OpenSSL, a thread each"}
ONLY_ALL = {"st", "go", "asio", "tokio", "asyncio", "asyncio_tuned", "uvloop"}
PACKAGES = {"uv": "libuv1-dev", "ev": "libev-dev", "uring": "liburing-dev", "st": "libst-dev", "asio": "libasio-dev"}


class Missing(Exception):
    """A participant cannot be had; says why."""


class Peers:
    def __init__(self, build):
        self.build = build
        self.made = {}  # word: None, or why its programs could not be made

    def program(self, word, kind):
        name = f"bench_{word}_{kind}"
        for path in (os.path.join(self.build, name), os.path.join(self.build, "bench", name)):
            if os.path.exists(path):
                return path
        if word in PACKAGES:
            raise Missing(f"{name} was not built: is {PACKAGES[word]} installed?")
        raise Missing(f"{name} was not built")

    def command(self, word, kind):
        """The program and what comes before the workload's own arguments."""
        if word in ("go", "tokio"):
            if word not in self.made:
                self.made[word] = self.make(word)
            if self.made[word]:
                raise Missing(self.made[word])
        if word in ("asyncio", "asyncio_tuned", "uvloop"):
            return self.python(word, kind)
        return [self.program("epoll" if word == "epoll_own" else word, kind)]

    def python(self, word, kind):
        module = "uvloop" if word == "uvloop" else "asyncio"
        tried = subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True, text=True)
        if tried.returncode != 0:
            raise Missing(f"{PYTHON} has no {module} (Debian: python3-uvloop)")
        return [PYTHON, os.path.join(BENCH, f"asyncio_{kind}.py"), *(["uvloop"] if word == "uvloop" else ["asyncio"])]

    def environment(self, word, backend=None):
        env = dict(os.environ)
        if backend:
            env["COIL_BACKEND"] = backend
        if word == "asyncio_tuned":  # so that its 256 KiB for each read do not come from the kernel
            env["MALLOC_MMAP_THRESHOLD_"] = env["MALLOC_TOP_PAD_"] = str(8 << 20)
        return env

    # ---- what Meson does not build ----

    def make(self, word):
        """None when its programs are there, else why not."""
        try:
            return {"go": self.make_go, "tokio": self.make_tokio}[word]()
        except subprocess.CalledProcessError as e:
            last = (e.stderr or e.stdout or "").strip().splitlines()[-1:]
            return f"{' '.join(e.cmd[:2])} failed: {' '.join(last)}"

    def make_go(self):
        if not shutil.which("go"):
            return "there is no go (Debian: golang-go)"
        env = {**os.environ, "GO111MODULE": "off", "GOCACHE": os.path.join(self.build, "go-cache")}
        for kind in ("micro", "echo"):
            subprocess.run(["go", "build", "-o", os.path.join(self.build, f"bench_go_{kind}"),
                            os.path.join(BENCH, f"go_{kind}.go")], env=env, check=True, capture_output=True, text=True)
        return None

    def make_tokio(self):
        if not shutil.which("cargo"):
            return "there is no cargo (Debian: cargo librust-tokio-dev)"
        if not os.path.isdir("/usr/share/cargo/registry"):
            return "there are no crates of Debian's (librust-tokio-dev)"
        target = os.path.join(self.build, "tokio")
        env = {**os.environ, "CARGO_HOME": os.path.join(self.build, "cargo"), "CARGO_TARGET_DIR": target}
        replace = ["--config", 'source.crates-io.replace-with="debian"',
                   "--config", 'source.debian.directory="/usr/share/cargo/registry"']
        shutil.rmtree(os.path.join(self.build, "tokio-src"), ignore_errors=True)
        source = shutil.copytree(os.path.join(BENCH, "tokio"), os.path.join(self.build, "tokio-src"))  # for its lock file
        subprocess.run(["cargo", "build", "--offline", "--release", *replace], cwd=source, env=env, check=True,
                       capture_output=True, text=True)
        for kind in ("micro", "echo"):
            shutil.copy(os.path.join(target, "release", f"tokio_{kind}"), os.path.join(self.build, f"bench_tokio_{kind}"))
        return None
