"""coil beside its peers: bench.py BUILD_DIR [WORD]... [--json] [--rounds N].

Each row runs everybody in turn, round after round in changing order, so that what the machine does meanwhile hits all
alike; the figure is the median of CPU time (user and system) for one operation, and the ratio is what to quote.
coil runs once for each backend of BACKENDS that this build and this kernel have. Prints a table; with --json a line of
JSON a row.
"""
import contextlib
import glob
import json
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
build = os.path.abspath(sys.argv[1])
options = sys.argv[2:]
as_json = "--json" in options
ROUNDS = int(options[options.index("--rounds") + 1]) if "--rounds" in options else 5
words = [w for i, w in enumerate(options) if not w.startswith("--") and options[i - 1:i] != ["--rounds"]]
BACKENDS = ["epoll", "uring"]

# what, mode, operations, peers
MICRO = [
    ("task switch, 2 tasks", "switch2", 1000000, ["st", "go"]),
    ("task switch, 1000 tasks", "switch1000", 1000000, ["st", "go"]),
    ("spawn and join, one by one", "spawn", 500000, ["st", "go"]),
    ("spawn and join, 1000 at a time", "spawn_batch", 500000, ["st", "go"]),
    ("call_soon", "call_soon", 2000000, ["uv"]),
    ("timer set and cancelled", "timer_cancel", 1000000, ["uv"]),
    ("timer set and fired, 300,000", "timer_expire", 300000, ["uv"]),
    ("file, 4 KiB from memory", "file_read", 200000, ["raw", "uv"]),
    ("file, 4 KiB from memory, 64 at a time", "file_read64", 200000, ["raw", "uv"]),
    ("file, stat on a thread", "file_stat", 100000, ["uv"]),
    ("child, /bin/true, with its own CPU", "child", 1000, ["raw", "uv"]),
    ("child with three pipes, with its own CPU", "child_pipes", 1000, []),
    ("job on a thread, round trip", "thread_job", 50000, []),
    ("job in a process, round trip", "process_job", 50000, []),
]
# what, word, transport, connections, requests, bytes, the server's buffer, peers, rounds for one of ROUNDS
ECHO = [
    ("echo, 64 bytes, 50 connections", "echo", "tcp", 50, 60000, 64, 16384, ["epoll", "uring", "uv"], 1),
    ("echo, 64 bytes, 1 connection", "echo_one", "tcp", 1, 5000, 64, 16384, ["epoll", "uring", "uv"], 1),
    ("echo, 64 bytes, 50 AF_UNIX", "echo_unix", "unix", 50, 100000, 64, 16384, ["epoll", "uring", "uv"], 1),
    ("echo, 1 MiB, 4 connections", "echo_large", "tcp", 4, 200, 1 << 20, 256 * 1024, ["epoll", "uv"], 4),  # caches make it restless
]
# what, word, sockets of the generator, datagrams, bytes
DATAGRAMS = [
    ("datagrams, 64 bytes, 50 senders", "datagrams", 50, 60000, 64),
    ("datagrams, 1,400 bytes, 50 senders", "datagrams_large", 50, 60000, 1400),
    ("datagrams, 64 bytes, 1 sender", "datagrams_one", 1, 5000, 64),
]
# what, word, connections, requests, bytes, the server's buffer, a connection for each request?
TLS = [
    ("TLS handshake and one byte, 8 at a time", "tls_handshake", 8, 1000, 1, 16384, True),
    ("TLS echo, 64 bytes, 50 connections", "tls_small", 50, 30000, 64, 16384, False),
    ("TLS echo, 16 KiB, 8 connections", "tls_16k", 8, 8000, 16384, 16384, False),
    ("TLS echo, 1 MiB, 4 connections", "tls_large", 4, 150, 1 << 20, 256 * 1024, False),
]
HTTPD_CONNECTIONS, HTTPD_SECONDS, HTTPD_BYTES = 50, 1, 1024
NAMES = {"raw": "the bare call", "st": "State Threads", "go": "Go", "uv": "libuv", "epoll": "raw epoll", "uring": "raw io_uring",
         "nginx": "nginx", "raw_tls": "OpenSSL, a thread each"}


def program(peer, kind):
    name = f"bench_{peer}_{kind}"
    return next((p for p in (os.path.join(build, name), os.path.join(build, "bench", name)) if os.path.exists(p)),
                os.path.join(build, name))


def pinned(core, command):
    return ["taskset", "-c", str(core)] + command if shutil.which("taskset") and os.cpu_count() > 1 else command


def with_backend(backend):
    return {**os.environ, "COIL_BACKEND": backend} if backend else None


def accepted_backends():
    """Those that coil can run on here; says which are missing."""
    have = []
    for backend in BACKENDS:
        tried = subprocess.run([program("coil", "micro"), "switch2", "1000"], env=with_backend(backend),
                               capture_output=True, text=True)
        if tried.returncode == 0:
            have.append(backend)
        else:
            print(f"no column for the backend {backend}: {tried.stderr.strip().splitlines()[-1:]}", flush=True)
    return have


def wanted(what, word):
    return not words or any(w in what or w in word for w in words)


def show(what, unit, figures):
    """`figures` by name; those of coil begin with its name and are compared with all the others."""
    if as_json:
        print(json.dumps({"what": what, "unit": unit, **{k: round(v, 2) for k, v in figures.items()}}), flush=True)
        return
    peers = {k: v for k, v in figures.items() if not k.startswith("coil")}
    print(what + ("" if len(peers) == 0 else ":  " + "   ".join(f"{k} {v:.1f} {unit}" for k, v in peers.items())))
    for name, ours in figures.items():
        if name.startswith("coil"):
            ratios = "   ".join(f"{ours / v:.2f} of {k}" for k, v in peers.items())
            print(f"    {name:24} {ours:8.1f} {unit}   {ratios}", flush=True)


def in_turns(who, measure, rounds, warm_up=False):
    """The median of measure(who) for each, run in a changing order."""
    seen = {w: [] for w in who}
    for _ in range(rounds + warm_up):
        for w in random.sample(list(who), len(who)):
            seen[w].append(measure(w))
    return {w: statistics.median(v[warm_up:]) for w, v in seen.items()}


# ---- programs that measure themselves ----


def micro(backends, what, mode, n, peers):
    who = {f"coil, {b}": (program("coil", "micro"), b) for b in backends}
    who.update({NAMES[p]: (program(p, "micro"), None) for p in peers if os.path.exists(program(p, "micro"))})

    def measure(name):
        path, backend = who[name]
        return float(subprocess.run(pinned(0, [path, mode, str(n)]), check=True, capture_output=True, text=True,
                                    env=with_backend(backend)).stdout)

    show(what, "ns", in_turns(who, measure, ROUNDS))


# ---- servers, measured from outside ----


def on_cpu_ns(pids):
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                total += int(f.read().split()[0])
    return total


@contextlib.contextmanager
def running(commands):
    """Starts {name: (command, environment)} on core 0; gives {name: (process, its first line)}."""
    processes = {}
    try:
        for name, (command, env) in commands.items():
            p = subprocess.Popen(pinned(0, command), stdout=subprocess.PIPE, text=True, env=env)
            processes[name] = (p, None)
            processes[name] = (p, p.stdout.readline().strip())
        yield processes
    finally:
        for p, _ in processes.values():
            p.kill()
            p.wait()


def echo(backends, what, transport, connections, requests, size, buffer, peers, times):
    servers = {}
    for b in backends:
        for kind in ("stream", "sock"):
            servers[f"coil {kind}, {b}"] = ([program("coil", "echo"), transport, str(buffer), kind], with_backend(b))
        if transport == "tcp":
            servers[f"coil protocol, {b}"] = ([program("protocol", "echo")], with_backend(b))
    for p in peers:
        if os.path.exists(program(p, "echo")):
            servers[NAMES[p]] = ([program(p, "echo"), transport, str(buffer)], None)
    with running(servers) as processes:

        def measure(name):
            p, target = processes[name]
            before = on_cpu_ns([p.pid])
            subprocess.run(pinned(1, [program("echo", "load"), target, str(connections), str(requests), str(size)]),
                           check=True)
            return (on_cpu_ns([p.pid]) - before) / requests / 1000

        # The first round warms everybody up.
        show(what + ", server's CPU", "us", in_turns(servers, measure, ROUNDS * times, warm_up=True))


def datagrams(backends, what, senders, n, size):
    servers = {f"coil {kind}, {b}": ([program("coil", "udp"), kind], with_backend(b))
               for b in backends for kind in ("endpoint", "sock")}
    servers[NAMES["epoll"]] = ([program("epoll", "udp")], None)
    with running(servers) as processes:

        def measure(name):
            p, port = processes[name]
            before = on_cpu_ns([p.pid])
            subprocess.run(pinned(1, [program("udp", "load"), port, str(senders), str(n), str(size)]), check=True)
            return (on_cpu_ns([p.pid]) - before) / n / 1000

        show(what + ", server's CPU", "us", in_turns(servers, measure, ROUNDS, warm_up=True))


def tls_echo(backends, what, connections, requests, size, buffer, fresh):
    if not os.path.exists(program("coil", "tls_echo")):
        print(f"no row '{what}': it was built without libcoil-tls", flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        cert, key = f"{folder}/cert.pem", f"{folder}/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=bench", "-days", "2", "-keyout", key, "-out", cert], check=True, capture_output=True)
        own = [str(buffer), cert, key]
        servers = {f"coil stream, {b}": ([program("coil", "tls_echo"), *own], with_backend(b)) for b in backends}
        servers[NAMES["raw_tls"]] = ([program("raw", "tls_blocking"), *own, str(connections + 10)], None)
        with running(servers) as processes:

            def measure(name):
                p, target = processes[name]
                before = on_cpu_ns([p.pid])
                subprocess.run(pinned(1, [program("tls", "load"), target, str(connections), str(requests), str(size)]
                                      + (["fresh"] if fresh else [])), check=True)
                return (on_cpu_ns([p.pid]) - before) / requests / 1000

            show(what + ", server's CPU", "us", in_turns(servers, measure, ROUNDS, warm_up=True))


# ---- a file server beside nginx ----


def unpacked_nginx():
    """Debian's nginx, unpacked beside the build and installed nowhere; None where that cannot be done."""
    folder = os.path.join(build, "nginx")
    binary = os.path.join(folder, "usr/sbin/nginx")
    if not os.path.exists(binary):
        os.makedirs(folder, exist_ok=True)
        try:
            subprocess.run(["apt-get", "download", "-qq", "nginx"], cwd=folder, check=True, capture_output=True)
            package = glob.glob(os.path.join(folder, "nginx_*.deb"))[0]
            subprocess.run(["dpkg", "-x", package, folder], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError, IndexError):
            return None
    tried = subprocess.run([binary, "-v"], capture_output=True)
    return binary if tried.returncode == 0 else None


def nginx_command(binary, root, scratch):
    with socket.socket() as probe:  # nobody else is here to take it in between
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = os.path.join(scratch, "nginx.conf")
    with open(config, "w") as f:
        f.write(f"""
daemon off; master_process off; pid {scratch}/pid; error_log {scratch}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; tcp_nodelay on; keepalive_requests 100000000;
    client_body_temp_path {scratch}/a; proxy_temp_path {scratch}/b; fastcgi_temp_path {scratch}/c;
    uwsgi_temp_path {scratch}/d; scgi_temp_path {scratch}/e;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
""")
    # It prints nothing when it is ready; the shell prints the port for it.
    return ["sh", "-c", f'echo {port}; exec "$0" -e {scratch}/error.log -c {config}', binary]


def wait_for_port(port):
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(port))):
            return
        time.sleep(0.01)
    raise TimeoutError(f"nobody listens on {port}")


def httpd(backends):
    server, wrk = os.path.join(build, "examples", "httpd"), shutil.which("wrk")
    if not os.path.exists(server) or not wrk:
        print("no row of httpd: " + ("wrk is missing" if not wrk else "httpd was not built"), flush=True)
        return
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as scratch:
        os.chmod(root, 0o755)
        os.chmod(scratch, 0o777)
        with open(os.path.join(root, "page"), "wb") as f:
            f.write(b"x" * HTTPD_BYTES)
        servers = {f"coil, {b}": ([server, "127.0.0.1:0", root], with_backend(b)) for b in backends}
        nginx = unpacked_nginx()
        if nginx:
            servers[NAMES["nginx"]] = (nginx_command(nginx, root, scratch), None)
        else:
            print("no column of nginx: apt-get download nginx failed", flush=True)
        with running(servers) as processes:
            # coil's says "... on 127.0.0.1:PORT (BACKEND)", nginx's shell the port alone.
            ports = {name: re.search(r"(\d+)( \(.*)?$", line).group(1) for name, (_, line) in processes.items()}
            for port in ports.values():
                wait_for_port(port)

            def measure(name):
                pid = processes[name][0].pid
                before = on_cpu_ns([pid])
                out = subprocess.run(pinned(1, [wrk, "-t1", f"-c{HTTPD_CONNECTIONS}", f"-d{HTTPD_SECONDS}s",
                                                f"http://127.0.0.1:{ports[name]}/page"]),
                                     check=True, capture_output=True, text=True).stdout
                spent = on_cpu_ns([pid]) - before
                if "Non-2xx" in out or "Socket errors" in out:
                    raise RuntimeError(f"{name}: {out}")
                return spent / int(re.search(r"(\d+) requests in", out).group(1)) / 1000

            show(f"httpd, a page of {HTTPD_BYTES} bytes, {HTTPD_CONNECTIONS} connections, server's CPU", "us",
                 in_turns(servers, measure, ROUNDS, warm_up=True))


def main():
    go = program("go", "micro")
    if not os.path.exists(go) and shutil.which("go"):
        subprocess.run(["go", "build", "-o", go, os.path.join(HERE, "go_micro.go")],
                       env={**os.environ, "GO111MODULE": "off", "GOCACHE": os.path.join(build, "go-cache")}, check=True)
    backends = accepted_backends()
    for row in MICRO:
        if wanted(row[0], row[1]):
            micro(backends, *row)
    for what, word, *row in ECHO:
        if wanted(what, word):
            echo(backends, what, *row)
    for what, word, *row in DATAGRAMS:
        if wanted(what, word):
            datagrams(backends, what, *row)
    for what, word, *row in TLS:
        if wanted(what, word):
            tls_echo(backends, what, *row)
    if wanted("httpd", "httpd"):
        httpd(backends)


main()
