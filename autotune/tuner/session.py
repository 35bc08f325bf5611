"""The orderer's side of trials: a connection to the trial server, and one to each child. Imports no torch."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import psutil

from autotune import errors
from autotune.config import TrainingConfig
from autotune.probes.own_processes import ORDERER
from autotune.profile_record import Ceilings
from autotune.records import Compilation, Job, Machine, Outcome, WorkloadFacts

__all__ = ["Server", "Session", "StepAnswer", "TrialFailed"]


# An idle child ends within milliseconds of being told; one in the middle of a step is not waited for longer.
_GRACE_S = 2.0


class TrialFailed(Exception):
    """A trial ended otherwise than well; never leaves the tuner."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome
        self.detail = detail


@dataclass(frozen=True)
class StepAnswer:
    """One step as the child timed it.

    skipped: the gradients overflowed in fp16 and the GradScaler left the update out. began_s: monotonic time at which
    the first forward pass began. compiled: something was compiled in it. compilation: all that
    the child has compiled so far; None where nothing is. largest_tensor_elements: where it was watched.
    """

    ms: float
    skipped: bool
    stalls: int
    peak_memory_bytes: int
    began_s: float
    largest_tensor_elements: int | None = None
    compiled: bool = False
    compilation: Compilation | None = None


class Server:
    """A running trial server. Use as a context manager: leaving it ends the server and every child."""

    def __init__(self, device: str | None) -> None:
        """Start a server and ask it for the machine. Raises what the server raises: InstallationError, DeviceError."""
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115, closed with the server
        # PyTorch makes it where something is compiled: a run that is killed leaves no empty folder.
        self._compiled = Path(tempfile.gettempdir()) / f"autotune-compiled-{secrets.token_hex(8)}"
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # The package may come from a place that only this process's sys.path knows.
        package_root = str(Path(__file__).resolve().parents[2])
        inherited = os.environ.get("PYTHONPATH")
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, (package_root, inherited))),
            # A factory that asks torch.cuda.is_available() must not open CUDA in a process that forks later.
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
            ORDERER: str(os.getpid()),
            # A run's own: what an earlier one compiled would make compiling look free.
            "TORCHINDUCTOR_CACHE_DIR": str(self._compiled),
        }
        loud = bool(os.environ.get("AUTOTUNE_DEBUG"))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "autotune.tuner.server", str(theirs.fileno()), str(self._compiled)],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=None if loud else self._log,
            stderr=None if loud else self._log,
            env=environment,
            # Ctrl-C is for the orderer alone: it ends the trials in order, and keeps what was measured.
            start_new_session=True,
        )
        theirs.close()
        try:
            self._answer("the trial server did not start")
            answer = self._ask({"op": "machine", "device": device, "sys_path": sys.path})
            self.machine = Machine.model_validate(answer["machine"])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """End the server and its children. Safe to call twice."""
        self._control.close()
        if self._process.poll() is None:
            try:
                self._process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()
        # The server removes it, unless it was killed.
        shutil.rmtree(self._compiled, ignore_errors=True)

    def prepare(self, job: Job) -> WorkloadFacts:
        """Build the model and decode the images. Raises UsageError or DataError as the job deserves."""
        answer = self._ask({"op": "prepare", "job": job.model_dump(mode="json")})
        return WorkloadFacts.model_validate(answer["workload"])

    def start(self, config: TrainingConfig) -> Session:
        """Fork a child for one training config."""
        ordered_s = time.monotonic()
        ours, theirs = Pipe()
        with theirs:
            message = json.dumps({"op": "fork", "config": config.model_dump(mode="json")}).encode()
            try:
                socket.send_fds(self._control, [message], [theirs.fileno()])
                pid = self._answer("the trial server ended")["pid"]
            except (OSError, errors.AutotuneError) as error:
                ours.close()
                raise TrialFailed(Outcome.CRASHED, f"the trial server ended: {error}") from None
        return Session(self, pid, ours, ordered_s)

    def reap(self, pid: int, grace_s: float) -> tuple[int, bool]:
        """End a child that does not end within grace_s: (its exit status, negative for a signal; whether the kernel
        ran out of memory meanwhile)."""
        answer = self._ask({"op": "reap", "pid": pid, "grace_s": grace_s})
        return answer["status"], answer["oom_killed"]

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        try:
            self._control.send(json.dumps(order).encode())
        except OSError:
            raise errors.AutotuneError(f"the trial server ended: {self._last_words()}") from None
        return self._answer("the trial server ended")

    def _answer(self, what: str) -> dict[str, Any]:
        data = self._control.recv(1 << 16)
        if not data:
            raise errors.AutotuneError(f"{what}: {self._last_words()}")
        answer: dict[str, Any] = json.loads(data)
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"])
        return answer

    def _last_words(self) -> str:
        """The last line that the server or a child printed, and how the server ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        if self._log.closed:
            return "it was closed"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} (exit status {self._process.returncode})"


class Session:
    """One child, alive and warmed up or on its way there."""

    def __init__(self, server: Server, pid: int, connection: Connection, ordered_s: float) -> None:
        self._server = server
        self._connection = connection
        self.pid = pid
        self.ordered_s = ordered_s
        self.steps_taken = 0

    def step(self, number: int | None, timeout_s: float, *, watch_tensors: bool = False) -> StepAnswer:
        """One optimizer step on the replayed batch `number`, or on the worst case where it is None. watch_tensors: look
        for the largest one in the worst case, which takes time of its own.

        Raises TrialFailed for whatever else happens; the session is over then.
        """
        order = {"worst_case": True, "watch_tensors": watch_tensors} if number is None else {"step": number}
        answer = self._ask(order, timeout_s, "no step ended")
        self.steps_taken += 1
        compiled = answer.pop("compilation")
        return StepAnswer(**answer, compilation=Compilation.model_validate(compiled) if compiled else None)

    def ceilings(self, machine: Machine, timeout_s: float) -> Ceilings:
        """What the device reaches, measured or from the cache; before the first step, while its memory is free.

        Raises TrialFailed where the child does not survive it.
        """
        answer = self._ask({"ceilings": machine.model_dump(mode="json")}, timeout_s, "the ceilings were not measured")
        return Ceilings.model_validate(answer["ceilings"])

    def numerics(self, steps: int, timeout_s: float) -> dict[str, Any]:
        """Train that many steps from the job's weights: losses, skipped (updates), peak_memory_bytes.

        Raises TrialFailed, NON_FINITE for a loss that is.
        """
        return self._ask({"numerics": steps}, timeout_s, f"no {steps} steps ended")

    def record(self, path: Path, numbers: Sequence[int], facts: dict[str, Any], timeout_s: float) -> None:
        """Take these steps under the profiler; the trace goes to path, with facts in it. Raises TrialFailed."""
        order = {"record": {"path": str(path), "numbers": list(numbers), "facts": facts}}
        self._ask(order, timeout_s, "no recording ended")

    def _ask(self, order: dict[str, Any], timeout_s: float, failure: str) -> dict[str, Any]:
        """Raises TrialFailed for whatever is no answer; the session is over then."""
        try:
            self._connection.send_bytes(json.dumps(order).encode())
            if not self._connection.poll(timeout_s):
                self.close(grace_s=0.0)
                raise TrialFailed(Outcome.TIMEOUT, f"{failure} within {timeout_s:.1f} s")
            answer: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise self._ended() from None
        if "outcome" in answer:
            self.close()
            raise TrialFailed(Outcome(answer["outcome"]), answer["detail"])
        return answer

    def cpu_s(self) -> float:
        """CPU time that the child has used, in seconds; 0 once it is gone."""
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def close(self, grace_s: float = _GRACE_S) -> None:
        """End the child: an idle one ends by itself at the end of its connection. Safe to call twice."""
        if self._connection.closed:
            return
        self._connection.close()
        with contextlib.suppress(errors.AutotuneError):
            self._server.reap(self.pid, grace_s)

    def _ended(self) -> TrialFailed:
        """What the end of a child without an answer means."""
        self._connection.close()
        try:
            status, oom_killed = self._server.reap(self.pid, _GRACE_S)
        except errors.AutotuneError as error:
            return TrialFailed(Outcome.CRASHED, str(error))
        if status == -signal.SIGKILL and oom_killed:
            return TrialFailed(Outcome.OUT_OF_MEMORY, "killed by the kernel, which ran out of memory")
        if status < 0:
            return TrialFailed(Outcome.CRASHED, f"killed by {signal.Signals(-status).name}")
        return TrialFailed(Outcome.CRASHED, f"the process ended with exit status {status}")
