"""The trial server: one process that imports torch, builds the model and decodes the images once, and forks a child
for each trial. Run as `python -m autotune.tuner.server FD FOLDER`: FD is a Unix socket (SOCK_SEQPACKET) to the orderer,
FOLDER where trials keep what they compile, which goes with the server: an orderer that is killed cannot remove it.

It never opens a CUDA context, starts no threads, and runs no backward pass: none of them survives a fork. A child
starts in milliseconds, with the model and the images shared copy-on-write, and talks to the orderer itself, over the
descriptor that comes with the order.

Orders and answers, one JSON object a message:
    {"op": "machine", "device": ..., "sys_path": [...]}  ->  {"machine": {...}}
    {"op": "prepare", "job": {...}}                      ->  {"workload": {...}}
    {"op": "fork", "config": {...}} and a descriptor     ->  {"pid": 123}
    {"op": "reap", "pid": 123, "grace_s": 1.0}           ->  {"status": 0, "oom_killed": false}
A failed order answers {"error": class name, "message": sentence}. The server ends with its orderer.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Never

from autotune import errors
from autotune.installation import check_installation
from autotune.records import Job
from autotune.tuner.lineage import end_with_the_parent

__all__ = ["main"]


class TrialServer:
    """The server's state: the prepared workload, and the children not yet reaped."""

    def __init__(self, control: socket.socket) -> None:
        check_installation()
        import torch

        self.control = control
        # OpenMP's threads do not survive a fork: the server computes on one, the children on all.
        self.threads = torch.get_num_threads()
        torch.set_num_threads(1)
        self.children: set[int] = set()
        self.oom_kills: dict[int, int] = {}

    def machine(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        sys.path[:] = order["sys_path"] + [place for place in sys.path if place not in order["sys_path"]]
        return _in_a_child(lambda: self._machine(order["device"]))

    def _machine(self, device: str | None) -> dict[str, Any]:
        from autotune.probes.machine import machine

        return {"machine": machine(device, self.threads).model_dump(mode="json")}

    def prepare(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        from autotune.workload.prepare import prepare

        job = Job.model_validate(order["job"])
        self.prepared = prepare(job)
        import torch

        if torch.cuda.is_initialized():
            raise errors.UsageError(
                f"{job.model.name}: building the model or reading the data opened CUDA, which trials cannot inherit; "
                "build it on the CPU, autotune moves it to the GPU"
            )
        # What is frozen is not scanned by a child's collector, so that its pages stay shared.
        gc.collect()
        gc.freeze()
        return {"workload": self.prepared.facts.model_dump(mode="json")}

    def fork(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        (channel,) = fds
        oom_kills = _oom_kills()
        pid = os.fork()
        if pid:
            self.children.add(pid)
            self.oom_kills[pid] = oom_kills
            return {"pid": pid}
        # The server's handler is for its own end.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.control.close()
        from autotune.tuner.child import run_child

        run_child(self.prepared, order["config"], channel, self.threads)
        raise AssertionError("a trial's child does not return")

    def reap(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """Wait grace_s for a child that was told to end, then end it."""
        pid, deadline_s = order["pid"], time.monotonic() + order["grace_s"]
        ended, status = os.waitpid(pid, os.WNOHANG)
        while not ended and time.monotonic() < deadline_s:
            time.sleep(0.002)
            ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        self.children.discard(pid)
        killed = _oom_kills() > self.oom_kills.pop(pid)
        return {"status": os.waitstatus_to_exitcode(status), "oom_killed": killed}

    def serve(self) -> None:
        orders: dict[str, Callable[[dict[str, Any], list[int]], dict[str, Any]]] = {
            "machine": self.machine,
            "prepare": self.prepare,
            "fork": self.fork,
            "reap": self.reap,
        }
        while True:
            data, fds, _, _ = socket.recv_fds(self.control, 1 << 16, 1)
            if not data:
                break
            order = json.loads(data)
            try:
                answer = orders[order["op"]](order, fds)
            except errors.AutotuneError as error:
                answer = {"error": type(error).__name__, "message": str(error)}
            finally:
                for fd in fds:
                    os.close(fd)
            self.control.send(json.dumps(answer).encode())
        self._end_children()

    def abandon(self, compiled: Path) -> Never:
        """End at once, whatever is under way; compiled: what to remove."""
        # Who ends all of a job's processes sends one more, beside the one for the orderer's end.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._end_children()
        shutil.rmtree(compiled, ignore_errors=True)
        os._exit(1)

    def _end_children(self) -> None:
        for pid in self.children:
            # One may have been reaped a moment ago.
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _in_a_child(question: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The answer to a question that opens the device: asked in a child, which takes its CUDA context with it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        end_with_the_parent(signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            answer = question()
        except errors.AutotuneError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        except BaseException as error:  # noqa: BLE001, the child must answer and end, whatever happens
            answer = {"error": "DeviceError", "message": f"the device cannot be asked: {error}"}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not text:
        raise errors.DeviceError(f"asking the device ended a process with status {os.waitstatus_to_exitcode(status)}")
    return dict(json.loads(text))


def _oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since boot."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def main() -> None:
    control, compiled = socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2])
    try:
        # An orderer that is killed meanwhile takes no message any more.
        with contextlib.suppress(BrokenPipeError):
            _serve(control, compiled)
    finally:
        shutil.rmtree(compiled, ignore_errors=True)


def _serve(control: socket.socket, compiled: Path) -> None:
    try:
        server = TrialServer(control)
    except errors.AutotuneError as error:
        control.send(json.dumps({"error": type(error).__name__, "message": str(error)}).encode())
        return
    # While it decodes images or builds the model it does not see that its orderer has gone.
    signal.signal(signal.SIGTERM, lambda *_: server.abandon(compiled))
    end_with_the_parent(signal.SIGTERM)
    control.send(json.dumps({"ready": True}).encode())
    server.serve()


if __name__ == "__main__":
    main()
