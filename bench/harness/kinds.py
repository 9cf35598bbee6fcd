"""One function for each kind of row: it finds the participants, measures them in turns, and gives {label: figures} and who
is missing, with the reason.
"""
import glob
import math
import os
import re
import shutil
import socket
import subprocess
import tempfile

from harness import measure
from harness.measure import Trouble, in_turns, pinned, run_json, running, summary
from harness.peers import BENCH, NAMES, ONLY_ALL, Missing
from harness.workers import messages, workers

HTTPD_SECONDS = 1
ROUNDS = 5


class Bench:
    """What all rows share: the build, the backends, the peers, how often and how much."""

    def __init__(self, peers, backends, rounds, scale, everybody, counting, progress):
        self.peers, self.backends, self.scale = peers, backends, scale
        self.rounds = rounds or ROUNDS
        # All rows within a quarter of an hour, or 40 minutes with everybody; who says how many rounds it shall be gets them.
        self.patience = math.inf if rounds else 30 if everybody else 12
        self.everybody, self.counting, self.progress = everybody, counting, progress
        self.fds = measure.raise_fd_limit()

    def times(self, row):
        return max(1, round(self.rounds * row.rounds))

    def much(self, n, step=1):
        """n, made less by the scale of a short run; a multiple of `step`."""
        return max(step, int(n * self.scale) // step * step)

    def those(self, words):
        return [w for w in words if self.everybody or w not in ONLY_ALL]

    def commands(self, words, kind, missing):
        """(word, label, command, environment) of the peers that can be had."""
        for word in self.those(words):
            try:
                yield word, NAMES[word], self.peers.command(word, kind), self.peers.environment(word)
            except Missing as e:
                missing[NAMES[word]] = str(e)

    def coil(self, kind, name="coil", spin=False):
        program = self.peers.command("coil" if kind != "protocol" else "protocol", "echo" if kind == "protocol" else kind)
        both = {f"{name}, {b}": (program, self.peers.environment("coil", b)) for b in self.backends}
        if spin:
            both |= {f"{name} spinning, {b}": (program, self.peers.environment("coil", b) | {"BENCH_SPIN": "0.00005"})
                     for b in self.backends}
        return both


# ---- programs that measure themselves ----


def micro_participants(bench, row, missing):
    """{label: (command, environment, operations)}; the count stands as {n} in the command."""
    who = {}

    def add(label, command, env, mode, n):
        step = 1000 if n >= 100_000 else 64 if n >= 64 else 1
        who[label] = (command + [mode, "{n}"], env, bench.much(n, step))

    for label, (command, env) in bench.coil("micro", spin=row.spin).items():
        add(label, command, env, row.word, row.n_of.get("coil", row.n))
    if row.beside:
        for label, (command, env) in bench.coil("micro", f"coil {row.beside}").items():
            add(label, command, env, row.beside, row.n)
    for word, label, command, env in bench.commands(row.peers, "micro", missing):
        n = row.n_of.get(word, row.n)
        # Interpreters take a thousand times as long; what they do once is told per operation all the same.
        slow = 20 if word in ("asyncio", "uvloop") and word not in row.n_of else 1
        add(label, command, env, row.word, max(1, n // slow))
    return who


def micro(bench, row):
    missing = {}
    who = micro_participants(bench, row, missing)

    def filled(label, n):
        return [str(n) if w == "{n}" else w for w in who[label][0]]

    def once(label):
        one = run_json(pinned("0,1" if row.both_cores else "0", filled(label, who[label][2])), who[label][1])
        if one[row.figure] <= 0:
            raise Trouble("it took no time")
        return one

    seen, failed = in_turns(who, once, bench.times(row), bench.progress, patience=bench.patience)
    figures = {}
    for label, all_of_it in seen.items():
        figures[label] = summary([one[row.figure] for one in all_of_it])
        figures[label]["cpu"] = summary([one["ns"] for one in all_of_it])["median"]
        figures[label]["wall"] = summary([one["wall_ns"] for one in all_of_it])["median"]
        for key in ("bytes", "mappings"):
            if key in all_of_it[0]:
                figures[label][key] = summary([one[key] for one in all_of_it])["median"]
        if row.count and bench.counting:
            n = bench.much(row.count, 16000 if row.count == 16000 else 1)  # a thousand and 64 go into 16,000
            count_calls(bench, label, figures, failed, lambda: measure.calls_of_program(who[label][0], who[label][1], n))
    return figures, {**missing, **failed}


def count_calls(bench, label, figures, failed, count):
    """What could not be counted is told; the time that was measured stays."""
    bench.progress.step(f"system calls: {label}")
    try:
        figures[label]["calls"] = count()
    except Trouble as e:
        failed[f"count of system calls: {label}"] = str(e)


def exponent(sizes, figures):
    """Of the whole with the number of things, by least squares on logarithms: 1 is proportional."""
    xs = [math.log(s) for s in sizes]
    ys = [math.log(s * f) for s, f in zip(sizes, figures)]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sum((x - mx) ** 2 for x in xs)


def growth(bench, row):
    figures, failed = {}, {}
    sizes = [s for s in row.sizes if s <= max(1000, row.sizes[-1] * bench.scale)]
    label, (command, env) = list(bench.coil("micro").items())[0]  # nothing of it touches the backend
    whole = []
    for size in sizes:
        bench.progress.step(f"{size:,}")
        n = max(size, bench.much(row.n, size) if row.n * bench.scale >= size else size)
        name = f"{label.replace('coil', f'coil, {size:,}')}"
        try:
            values = [run_json(pinned("0", command + [row.word, str(n), str(size)]), env)["ns"]
                      for _ in range(bench.rounds if size < 100_000 else 1)]
        except Trouble as e:
            failed[name] = str(e)
            continue
        figures[name] = summary(values)
        whole.append((size, figures[name]["median"]))
    if len(whole) > 1:
        figures[name]["exponent"] = exponent(*zip(*whole))
    return figures, failed


# ---- servers, measured from outside ----


def echo_servers(bench, row, missing):
    """{label: (command, environment, connections)}."""
    servers, own = {}, [row.transport, str(row.buffer)]
    for kind in row.kinds:
        for label, (command, env) in bench.coil("protocol" if kind == "protocol" else "echo", f"coil {kind}",
                                                 spin=row.spin and kind == "sock").items():
            words = [] if kind == "protocol" else [*own, kind]
            servers[label] = (command + words, env, row.connections)
            if row.fewer and "spinning" not in label:
                name, _, backend = label.rpartition(", ")
                servers[f"{name} at {row.fewer}, {backend}"] = (command + words, env, row.fewer)
    for word, label, command, env in bench.commands(row.peers, "echo", missing):
        words = own + (["messages"] if row.messages > 1 and word not in ("epoll", "uring") else [])
        if word == "epoll_own":
            words = [*own, "own"]
        servers[label] = (command + words, env, row.connections)
    return servers


def echo(bench, row):
    missing = {}
    if row.connections + 100 > bench.fds:
        return {}, {"all": f"{row.connections} connections, and a process may have {bench.fds} descriptors (ulimit -Hn)"}
    servers = echo_servers(bench, row, missing)
    requests = max(bench.much(row.requests), 2 * row.connections if bench.scale >= 1 else 1)
    load, loads, busy, walls = bench.peers.program("echo", "load"), {}, {}, {}
    with running({label: s[:2] for label, s in servers.items()}) as (processes, failed):

        def once(label):
            p, target = processes[label]
            if label not in loads:
                loads[label] = measure.Load(load, target, servers[label][2], requests, row.size)
            before = measure.on_cpu_ns(p.pid)
            wall, _ = loads[label].go()
            on_cpu = measure.on_cpu_ns(p.pid) - before
            busy[label] = on_cpu / 1e9 / wall
            walls.setdefault(label, []).append(wall * 1e6 / requests)
            if on_cpu == 0:
                raise Trouble("it took no time")
            return on_cpu / requests / row.messages / (1000 if row.unit == "us" else 1)

        try:
            seen, lost = in_turns(processes, once, bench.times(row), bench.progress, warm_up=True, patience=bench.patience)
            figures = {label: {**summary(values), "busy": busy[label],
                               "memory": measure.most_memory(processes[label][0].pid)} for label, values in seen.items()}
            if row.spin:
                for label in figures:
                    figures[label]["wall"] = summary(walls[label])["median"]
        finally:
            for one in loads.values():
                one.end()
    if row.count and bench.counting:
        n = max(row.connections, bench.much(min(row.requests, 4000 // row.messages)))  # strace takes its time

        def one_load(target, requests):
            one = measure.Load(load, target, row.connections, requests, row.size)
            try:
                one.go()
            finally:
                one.end()

        for label in figures:
            count_calls(bench, label, figures, failed, lambda: measure.calls_of_server(
                servers[label][0], servers[label][1], one_load, n) / row.messages)
    return figures, {**missing, **failed, **lost}


def with_generator(bench, row, servers, missing, generator):
    """Servers whose generator is started anew for each round; generator(target) is its command."""
    with running(servers) as (processes, failed):

        def once(label):
            p, target = processes[label]
            before = measure.on_cpu_ns(p.pid)
            measure.run(pinned("1", generator(target)))
            return (measure.on_cpu_ns(p.pid) - before) / bench.much(row.requests) / 1000

        seen, lost = in_turns(processes, once, bench.times(row), bench.progress, warm_up=True, patience=bench.patience)
    return {label: summary(values) for label, values in seen.items()}, {**missing, **failed, **lost}


def datagrams(bench, row):
    missing, servers = {}, {}
    for kind in ("endpoint", "sock"):
        for label, (command, env) in bench.coil("udp", f"coil {kind}").items():
            servers[label] = (command + [kind], env)
    for _, label, command, env in bench.commands(row.peers, "udp", missing):
        servers[label] = (command, env)
    load = bench.peers.program("udp", "load")
    return with_generator(bench, row, servers, missing, lambda target: [
        load, target, str(row.connections), str(bench.much(row.requests)), str(row.size)])


def tls(bench, row):
    try:
        load, raw = bench.peers.program("tls", "load"), bench.peers.program("raw", "tls_blocking")
    except Missing:
        return {}, {"all": "it was built without libcoil-tls"}
    with tempfile.TemporaryDirectory() as folder:
        cert, key = f"{folder}/cert.pem", f"{folder}/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=bench", "-days", "2", "-keyout", key, "-out", cert], check=True, capture_output=True)
        own = [str(row.buffer), cert, key]
        servers = {label: (command + own, env) for label, (command, env) in bench.coil("tls_echo", "coil stream").items()}
        servers[NAMES["raw_tls"]] = ([raw, *own, str(row.connections + 10)], None)
        words = [str(row.connections), str(bench.much(row.requests)), str(row.size), *(["fresh"] if row.fresh else [])]
        return with_generator(bench, row, servers, {}, lambda target: [load, target, *words])


# ---- a file server beside nginx ----


def unpacked_nginx(build):
    """Debian's nginx, unpacked beside the build and installed nowhere."""
    folder = os.path.join(build, "nginx")
    binary = os.path.join(folder, "usr/sbin/nginx")
    if not os.path.exists(binary):
        os.makedirs(folder, exist_ok=True)
        try:
            subprocess.run(["apt-get", "download", "-qq", "nginx"], cwd=folder, check=True, capture_output=True)
            package = glob.glob(os.path.join(folder, "nginx_*.deb"))[0]
            subprocess.run(["dpkg", "-x", package, folder], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError, IndexError):
            raise Missing("apt-get download nginx failed") from None
    if subprocess.run([binary, "-v"], capture_output=True).returncode != 0:
        raise Missing("Debian's nginx does not run here")
    return binary


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


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", int(port))).close()
        return True
    except OSError:
        return False


def httpd(bench, row):
    server, wrk = os.path.join(bench.peers.build, "examples", "httpd"), shutil.which("wrk")
    if not os.path.exists(server) or not wrk:
        return {}, {"all": "wrk is missing" if not wrk else "examples/httpd was not built"}
    missing = {}
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as scratch:
        os.chmod(root, 0o755)
        os.chmod(scratch, 0o777)
        with open(os.path.join(root, "page"), "wb") as f:
            f.write(b"x" * row.size)
        servers = {f"coil, {b}": ([server, "127.0.0.1:0", root], bench.peers.environment("coil", b)) for b in bench.backends}
        try:
            servers[NAMES["nginx"]] = (nginx_command(unpacked_nginx(bench.peers.build), root, scratch), None)
        except Missing as e:
            missing[NAMES["nginx"]] = str(e)
        with running(servers) as (processes, failed):
            # coil's says "... on 127.0.0.1:PORT (BACKEND)", nginx's shell the port alone.
            ports = {label: re.search(r"(\d+)( \(.*)?$", line).group(1) for label, (_, line) in processes.items()}
            for port in ports.values():
                measure.wait_for(lambda port=port: answers(port))
            script = ["-s", os.path.join(BENCH, "pipeline.lua")] if row.pipelined > 1 else []

            def once(label):
                pid = processes[label][0].pid
                before = measure.on_cpu_ns(pid)
                out = measure.run(pinned("1", [wrk, "-t1", f"-c{row.connections}", f"-d{HTTPD_SECONDS}s", *script,
                                               f"http://127.0.0.1:{ports[label]}/page"]))
                spent = measure.on_cpu_ns(pid) - before
                if "Non-2xx" in out or "Socket errors" in out:
                    raise Trouble(" ".join(line.strip() for line in out.splitlines() if "Non-2xx" in line or "Socket" in line))
                return spent / int(re.search(r"(\d+) requests in", out).group(1)) / 1000

            seen, lost = in_turns(processes, once, bench.times(row), bench.progress, warm_up=True, patience=bench.patience)
    return {label: summary(values) for label, values in seen.items()}, {**missing, **failed, **lost}


KINDS = {"Micro": micro, "Growth": growth, "Echo": echo, "Datagrams": datagrams, "Tls": tls, "Httpd": httpd,
         "Workers": workers, "Messages": messages}
