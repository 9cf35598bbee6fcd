"""What it costs to be looked at: ps_cost.py BUILD_DIR [TASKS [MODE]]. So many tasks (100,000) are parked, and `coil ps` and its kin look.

For each command: its time and processor time, and the longest time for which the program stood still meanwhile, as a clock that is read
all the time saw it; without what the thread had to stand in line for a processor, which the kernel tells. Beside it the same without
anybody who looks: what the machine does by itself. The best of some rounds for times; of stops the worst."""
import os
import resource
import statistics
import subprocess
import sys
import time

ROUNDS = 3
VERBS = [["ps"], ["ps", "--count"], ["ps", "--json"], ["pstree"]]
build = os.path.abspath(sys.argv[1])
tasks = sys.argv[2] if len(sys.argv) > 2 else "100000"
only = sys.argv[3] if len(sys.argv) > 3 else ""


def look(command, pid):
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([f"{build}/coil", *command, str(pid)], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def idle(_command, _pid):
    time.sleep(0.5)
    return 0.5, 0.0


class Program:
    def __init__(self, mode):
        self.process = subprocess.Popen([f"{build}/bench_ps_cost", tasks, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        assert self.process.stdout.readline() == "ready\n"

    def longest_stop(self):
        """Since it was last asked, in ms."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        _, gap, in_line = map(int, self.process.stdout.readline().split())
        return (gap - in_line) / 1e6

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def main():
    print(f"{tasks} tasks; seconds, CPU seconds, longest stop in ms")
    for mode, what, verbs in [("parked", "the loop sleeps, a thread reads the clock", VERBS),
                              ("mapping", "the same, and the thread maps and unmaps memory", VERBS[:1]),
                              ("spinning", "a task reads the clock, and never waits", VERBS[:1])]:
        if only not in mode:
            continue
        with Program(mode) as program:
            print(f"-- {what}")
            for command in [[], *verbs]:
                rows = []
                for _ in range(ROUNDS):
                    program.longest_stop()
                    took = (look if command else idle)(command, program.process.pid)
                    rows.append((*took, program.longest_stop()))
                wall, cpu, stop = zip(*rows)
                name = "coil " + " ".join(command) if command else "nobody looks"
                print(f"{name:18} {min(wall):8.3f} {min(cpu):8.3f} {max(stop):8.3f}   median stop {statistics.median(stop):.3f}",
                      flush=True)


main()
