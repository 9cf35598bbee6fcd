"""test/script/seen_main.c as a program to look at: running, or as the core file that the kernel left of it."""
import contextlib
import os
import resource
import signal
import subprocess
import tempfile

from programs import Skip


@contextlib.contextmanager
def target(build, backend, mode, env_more=None, **more):
    """test/script/seen_main.c in one of its modes, once it stands where it should."""
    process = subprocess.Popen([f"{build}/seen", mode], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "COIL_BACKEND": backend, **(env_more or {})}, **more)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        if process.stderr:
            process.stderr.close()


def state_of(pid):
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rpartition(")")[2].split()[0]


@contextlib.contextmanager
def core_file(build, backend):
    with open("/proc/sys/kernel/core_pattern") as f:
        pattern = f.read().strip()
    if pattern.startswith(("|", "/")) or "%" in pattern:
        raise Skip(f"core files go elsewhere here ({pattern})")
    with tempfile.TemporaryDirectory() as folder:
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        try:
            with target(os.path.abspath(build), backend, "waits", cwd=folder,
                        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, unlimited)) as process:
                process.send_signal(signal.SIGABRT)
                process.wait()
        except (OSError, ValueError, subprocess.SubprocessError):
            raise Skip("core files are limited here") from None
        cores = [name for name in os.listdir(folder) if name.startswith(pattern)]
        if not cores or os.path.getsize(f"{folder}/{cores[0]}") > 1 << 30:
            raise Skip("no core file came, or a huge one")
        yield f"{folder}/{cores[0]}"
