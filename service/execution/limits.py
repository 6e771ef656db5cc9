"""What a horse may use, and what it dies of."""

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from jobs.policy import Policy

# Looked up here, so that a horse does not pay for it.
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_CPU_GRACE = 5  # seconds of CPU time past the limit until the kernel kills


class CpuTimeExceeded(Exception):
    """The job has used more CPU time than its task allows."""


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Called in a child: get this signal when the parent dies, however it dies.

    Else the horse of a killed worker would go on, beside the execution that replaces it. Where
    the system can't do this (macOS), that may happen.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def apply_limits(policy: Policy) -> None:
    """Set this process's limits to those of the task that it is about to run."""
    if policy.memory is not None:
        _limit_memory(policy.memory)
    if policy.cpu_seconds is not None:
        signal.signal(signal.SIGXCPU, _on_cpu_limit)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        used = int(usage.ru_utime + usage.ru_stime)
        soft = used + policy.cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (soft, soft + _CPU_GRACE))


def resident_bytes() -> int:
    """The memory that this process holds; where the system doesn't tell, its most so far."""
    used = resident_bytes_of("self")
    return peak_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) if used is None else used


def resident_bytes_of(pid: int | str) -> int | None:
    """The memory that a process holds; None where it is gone, or the system doesn't tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * resource.getpagesize()


def peak_bytes(maxrss: int) -> int:
    """What the system calls `ru_maxrss`, in bytes: Linux counts it in KiB."""
    return maxrss * (1 if sys.platform == "darwin" else 1024)


def _limit_memory(limit: int) -> None:
    """`limit` bytes beyond what the process has already, which is the worker's own.

    RLIMIT_DATA counts what is really private (heap and anonymous mappings, Linux ≥ 4.7), not the
    address space that libraries merely reserve, as RLIMIT_AS would.
    """
    ceiling = _private_bytes() + limit
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (ceiling, hard))


def _private_bytes() -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    line = next(line for line in status.splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024


def _on_cpu_limit(*_: Any) -> None:
    raise CpuTimeExceeded("The job used more CPU seconds than its task allows")
