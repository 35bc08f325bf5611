"""Records training steps with torch.profiler, so that the trace alone tells which layer each operator ran in."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity

from autotune.errors import DeviceError, TraceError
from autotune.probes.tensor_lists import tensor_lists
from autotune.ranges import LAYER, MODEL, STEP, opened

__all__ = ["METADATA", "layers_named", "record"]

# The key under which a trace keeps what the analysis must know beside the events.
METADATA = "autotune"
_CHUNK_BYTES = 1 << 20
_TAIL_BYTES = 1 << 12


def record(
    step: Callable[[int], object],
    numbers: Sequence[int],
    model: nn.Module,
    device: torch.device,
    path: Path,
    facts: dict[str, Any],
) -> None:
    """Run step(number) for each number under the profiler and export the trace to path (gzip where it ends in .gz).

    On CUDA one more step comes first, outside the ranges of the steps: the first one under the profiler also sets up
    its counters. facts go into the trace, with the modules' classes and the operators' lists of tensors, so that the
    trace explains itself elsewhere.
    Raises DeviceError where the device has no profiler support, TraceError where the disk does not take the whole
    trace; whatever step raises. The trace stands at path whole or not at all.
    """
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        if ProfilerActivity.CUDA not in torch.profiler.supported_activities():
            raise DeviceError("this build of torch cannot profile CUDA devices; install PyTorch's CUDA build")
        activities.append(ProfilerActivity.CUDA)
    with layers_named(model), torch.profiler.profile(activities=activities, record_shapes=True) as profiler:
        if device.type == "cuda":
            step(numbers[0])
            torch.cuda.synchronize(device)
        for number in numbers:
            with opened(f"{STEP}{number}"):
                step(number)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    modules = {name or MODEL: type(module).__name__ for name, module in model.named_modules()}
    _export(profiler, path, {**facts, "modules": modules, "tensor_lists": tensor_lists(profiler)})


def _export(profiler: torch.profiler.profile, path: Path, facts: dict[str, Any]) -> None:
    """The trace with facts at its head: the profiler takes metadata only while it runs, and some are known later."""
    try:
        with tempfile.TemporaryDirectory(prefix=".autotune-", dir=path.parent) as folder:
            plain, partial = Path(folder) / "plain", Path(folder) / "partial"
            profiler.export_chrome_trace(str(plain))
            if not _is_whole(plain):
                raise TraceError(f"{path}: torch did not write the whole trace; make room on the disk, then try again")
            with plain.open("rb") as source, (gzip.open if path.suffix == ".gz" else open)(partial, "wb") as target:
                opening, _, rest = source.read(_CHUNK_BYTES).partition(b"{")
                target.write(opening + b'{"' + METADATA.encode() + b'": ' + json.dumps(facts).encode() + b"," + rest)
                shutil.copyfileobj(source, target, _CHUNK_BYTES)
            partial.replace(path)
    except OSError as error:
        raise TraceError(
            f"{path}: the trace cannot be written ({error.strerror}); make room on the disk, then try again"
        ) from None


def _is_whole(plain: Path) -> bool:
    """Whether the document is there and closed: torch says nothing when the disk does not take all of it."""
    if not plain.exists():
        return False
    with plain.open("rb") as file:
        file.seek(max(0, plain.stat().st_size - _TAIL_BYTES))
        return file.read().rstrip().endswith(b"}")


@contextmanager
def layers_named(model: nn.Module) -> Iterator[None]:
    """Hooks that open a range with its qualified name around each module's forward. A shared module has one name."""
    ranges = _OpenRanges()
    handles = []
    for name, module in model.named_modules():
        before, after = ranges.hooks(LAYER + (name or MODEL))
        handles.append(module.register_forward_pre_hook(before))
        # Also after a forward that raised: what is left open would swallow all that comes.
        handles.append(module.register_forward_hook(after, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _OpenRanges(threading.local):
    """The ranges that are open on each thread: torch.utils.checkpoint runs modules again on autograd's."""

    def __init__(self) -> None:
        self.stack: list[Any] = []

    def hooks(self, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
        def before(*_: object) -> None:
            entered = opened(name)
            entered.__enter__()
            self.stack.append(entered)

        def after(*_: object) -> None:
            if self.stack:
                self.stack.pop().__exit__(None, None, None)

        return before, after
