"""Which processes on a GPU are a run's own: the orderer's, which may be a user's own process, and its descendants'."""

from __future__ import annotations

import os

import psutil

__all__ = ["ORDERER", "is_other"]

# The environment variable by which a trial server and its children know the process that ordered them.
ORDERER = "AUTOTUNE_ORDERER"


def is_other(pid: int) -> bool:
    """Whether a process is none of ours.

    In a container NVML may report process ids of another namespace; those that do not exist here are left out.
    """
    orderer = int(os.environ.get(ORDERER, os.getpid()))
    try:
        process = psutil.Process(pid)
        family = [process, *process.parents()]
    except psutil.Error:
        return False
    return orderer not in {member.pid for member in family}
