"""No process outlives a killed run: the server ends with its orderer, and a trial with the server."""

from __future__ import annotations

import ctypes
import signal
import sys

__all__ = ["end_with_the_parent"]

_PR_SET_PDEATHSIG = 1


def end_with_the_parent(by: signal.Signals) -> None:
    """Ask the kernel to send this process a signal when its parent ends (prctl(2), PR_SET_PDEATHSIG): to be exact, when
    the thread ends that started it. On Linux alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
