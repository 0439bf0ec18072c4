"""What the scripts of this folder share: timing, memory, processes and how candidates take turns."""
import importlib.util
import json
import subprocess
import time


def resident_mb(field="VmRSS"):
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024.0
    return 0.0


def reset_peak():
    """Lets VmHWM start again from the present size; where the kernel refuses, the peak of the imports counts too."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as refs:
            refs.write("5")
    except OSError:
        pass


def timed(step, warmup, runs):
    """Milliseconds of each of `runs` calls."""
    for _ in range(warmup):
        step()
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        step()
        times.append((time.perf_counter() - begin) * 1e3)
    return times


def turned(names, number):
    """The order of round `number`: it turns by one each round, so that nobody always follows the same neighbour."""
    turn = number % len(names)
    return names[turn:] + names[:turn]


def json_of(name, command, env=None):
    """The last line of what a process prints, as JSON. RuntimeError with the last line of its complaints if it fails."""
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise RuntimeError(f"{name} ended with status {done.returncode}: {tail[0]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def installed(module):
    return importlib.util.find_spec(module) is not None


def cpu_name():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
        for line in info:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "unknown CPU"
