"""The child's side of a trial: set up one training config, then take steps as ordered.

Orders, one JSON object a message over a multiprocessing connection:
    {"step": 3}           ->  the fields of session.StepAnswer
    {"worst_case": true, "watch_tensors": false}  ->  the same, on the worst-case batch
    {"ceilings": {...}}   ->  {"ceilings": {...}}, for the machine that the order names
    {"record": {"path": ..., "numbers": [...], "facts": {...}}}  ->  {"recorded": path}, steps under the profiler
A failure answers {"outcome": ..., "detail": ...} and ends the child; so does the end of the connection.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
import time
import traceback
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Never

import torch

from autotune.config import TrainingConfig
from autotune.errors import AutotuneError
from autotune.probes.clock import timed
from autotune.probes.compilation import compilation
from autotune.probes.largest_tensor import with_largest_tensor
from autotune.probes.memory import limit_memory, memory_stalls, peak_memory_bytes
from autotune.records import Machine, Outcome
from autotune.tuner.lineage import end_with_the_parent
from autotune.workload.prepare import Prepared
from autotune.workload.step import OptimizerStep

__all__ = ["LEARNING_RATE", "run_child"]

_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|ALLOC(ATION)?_FAILED", re.IGNORECASE
)
_UNSUPPORTED = re.compile(
    # The last is live batch norm's word for a batch that leaves it one value a channel.
    r"not implemented for|not[ _]supported|no kernel image|more than 1 value per channel",
    re.IGNORECASE,
)
# What torch's losses say of a label that the model has no output for.
_UNKNOWN_LABEL = re.compile(r"Target \d+ is out of bounds")


def run_child(prepared: Prepared, config: dict[str, Any], channel: int, threads: int) -> Never:
    """Serve one trial over the descriptor channel, then end the process without the server's clean-up."""
    end_with_the_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = 1
    with Connection(os.dup(channel)) as connection:
        try:
            _serve(prepared, TrainingConfig.model_validate(config), connection, threads)
            status = 0
        except EOFError:
            status = 0
        except BaseException as error:  # noqa: BLE001, whatever ends a trial is its outcome
            outcome, detail = classify(error)
            if os.environ.get("AUTOTUNE_DEBUG"):
                traceback.print_exc()
            connection.send_bytes(json.dumps({"outcome": outcome, "detail": detail}).encode())
    sys.stderr.flush()
    os._exit(status)


def _serve(prepared: Prepared, config: TrainingConfig, connection: Connection, threads: int) -> None:
    job = prepared.job
    torch.set_num_threads(job.threads or threads)
    device = torch.device(job.device)
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
    # Random weights reach denormal numbers that trained ones do not; on a CPU they slow a step down several times.
    torch.set_flush_denormal(True)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    limit_memory(device, job.memory_limit_bytes)
    child = _Child(prepared, config, device)
    while True:
        order = json.loads(connection.recv_bytes())
        connection.send_bytes(json.dumps(child.answer(order)).encode())


# From the GradScaler's first scale, 2^16, down to 2.
_OVERFLOWS_AT_MOST = 15
# Moves the weights visibly within a few steps, and does not throw random ones off without a warm-up.
LEARNING_RATE = {"adamw": 1e-4, "sgd": 1e-3}


class _Child:
    """What a child does when asked: optimizer steps, a recording of some, or the ceilings of its device."""

    def __init__(self, prepared: Prepared, config: TrainingConfig, device: torch.device) -> None:
        self.prepared = prepared
        self.config = config
        self.device = device

    @cached_property
    def step(self) -> OptimizerStep:
        # Built when first needed: the ceilings want the device's memory for themselves.
        return OptimizerStep(self.prepared.model, self.config, self.prepared.job, self.device)

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        if "ceilings" in order:
            return self._ceilings(Machine.model_validate(order["ceilings"]))
        if "numerics" in order:
            return self._numerics(int(order["numerics"]))
        if "record" in order:
            return self._record(order["record"])
        if order.get("watch_tensors"):
            answer, largest = with_largest_tensor(lambda: self._timed_step(None))
            return {**answer, "largest_tensor_elements": largest}
        return self._timed_step(None if "worst_case" in order else int(order["step"]))

    def _timed_step(self, number: int | None) -> dict[str, Any]:
        """One step on the replayed batch number, or on the worst case where it is None."""
        pool, step = self.prepared.pool, self.step
        items = pool.step(number or 0)
        if number is None:
            # The second micro-batch of an accumulated step meets the gradients of the first.
            items = pool.worst_case(self.config.batch_size) * min(2, self.config.accumulation_steps)
        scale = step.loss_scale
        before = compilation() if self.config.compile else None
        began_s = time.monotonic()
        loss, milliseconds = timed(lambda: step(items, number or 0), self.device)
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"the loss is {loss.item()} in step {number or 0}")
        so_far = compilation() if self.config.compile else None
        return {
            "ms": milliseconds,
            "skipped": step.loss_scale < scale,
            "stalls": memory_stalls(self.device),
            "peak_memory_bytes": peak_memory_bytes(self.device),
            "began_s": began_s,
            "compiled": so_far is not None and before is not None and so_far.graphs > before.graphs,
            "compilation": so_far.model_dump(mode="json") if so_far else None,
        }

    def _numerics(self, steps: int) -> dict[str, Any]:
        """Train a little, with updates that count: the losses, and how many updates the GradScaler left out.

        A step whose update it left out is taken again: it begins with a scale that most models' gradients overflow, and
        losses that lag behind fp32's by the updates left out would say nothing of the precision.
        """
        job = self.prepared.job
        step = OptimizerStep(self.prepared.model, self.config, job, self.device, LEARNING_RATE[job.optimizer])
        losses: list[float] = []
        skipped = 0
        for number in range(steps):
            for _ in range(_OVERFLOWS_AT_MOST):
                scale = step.loss_scale
                loss = float(step(self.prepared.pool.step(number), number))
                if not math.isfinite(loss):
                    raise FloatingPointError(f"the loss is {loss} in step {number}")
                if step.loss_scale >= scale:
                    break
                skipped += 1
            else:
                raise FloatingPointError(f"the gradients of step {number} overflow at any scale: no weight was updated")
            losses.append(loss)
        return {"losses": losses, "skipped": skipped, "peak_memory_bytes": peak_memory_bytes(self.device)}

    def _record(self, order: dict[str, Any]) -> dict[str, Any]:
        from autotune.probes.recording import record

        pool, step = self.prepared.pool, self.step
        record(
            lambda number: step(pool.step(number), number),
            order["numbers"],
            step.model,
            self.device,
            Path(order["path"]),
            order["facts"],
        )
        return {"recorded": order["path"]}

    def _ceilings(self, machine: Machine) -> dict[str, Any]:
        from autotune.probes.ceilings_cache import ceilings_for

        return {"ceilings": json.loads(ceilings_for(self.device, machine).to_json())}


def classify(error: BaseException) -> tuple[Outcome, str]:
    """The outcome that an exception in a trial stands for, and its first line."""
    text = str(error).strip().split("\n")[0][:500]
    detail = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return Outcome.OUT_OF_MEMORY, text or "out of memory"
    if isinstance(error, FloatingPointError):
        return Outcome.NON_FINITE, text
    if isinstance(error, AutotuneError):
        return Outcome.CRASHED, text
    if _UNKNOWN_LABEL.search(text):
        few = "the model has fewer classes than the data has labels"
        own = "synthetic data has COCO's, up to 90: --data, --voc or dataset= give your own"
        return Outcome.CRASHED, f"{detail.rstrip('.')}: {few} ({own})"
    if isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)):
        return Outcome.OUT_OF_MEMORY, text
    if _is_of_the_compiler(error):
        return Outcome.UNSUPPORTED, f"torch.compile fails: {detail}"
    if isinstance(error, NotImplementedError) or (
        isinstance(error, RuntimeError | ValueError) and _UNSUPPORTED.search(str(error))
    ):
        return Outcome.UNSUPPORTED, detail
    return Outcome.CRASHED, detail


def _is_of_the_compiler(error: BaseException) -> bool:
    """By the module of its class: importing torch._dynamo takes seconds, and most trials do without."""
    modules = (each.__module__ for each in type(error).__mro__)
    return any(module.startswith(("torch._dynamo.", "torch._inductor.")) for module in modules)
