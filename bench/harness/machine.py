"""What a figure depends on beside the program: the processor, the kernel, versions of compilers and libraries."""
import os
import re
import subprocess

PACKAGES = ["libuv1", "libev4", "liburing2", "libst1", "libasio-dev", "golang-go", "librust-tokio-dev", "python3",
            "python3-uvloop", "openssl", "wrk", "strace"]


def said(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def processor():
    with open("/proc/cpuinfo") as f:
        text = f.read()
    field = dict(re.findall(r"^([^\t:]+?)\s*: (.*)$", text, re.MULTILINE))
    name = field.get("model name") or field.get("CPU part") or "unknown"
    number = "".join(f", {word} {field[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in field)
    virtual = ", virtual" if "hypervisor" in field.get("flags", "") else ""
    return f"{name}{number}, {os.cpu_count()} cores{virtual}"


def versions():
    found = {}
    for package in PACKAGES:
        version = said("dpkg-query", "-W", "-f=${Version}", package)
        if version:
            found[package] = version
    return found


def describe(root):
    with open("/proc/meminfo") as f:
        memory = int(re.search(r"MemTotal:\s+(\d+)", f.read()).group(1)) // 1024
    return {"kind": "machine", "cpu": processor(), "memory_mib": memory, "kernel": " ".join(os.uname()[i] for i in (0, 2, 4)),
            "compiler": said("gcc", "--version").splitlines()[0] if said("gcc", "--version") else "unknown",
            "commit": said("git", "-C", root, "describe", "--always", "--dirty"), "versions": versions(),
            "load": os.getloadavg()[0]}
