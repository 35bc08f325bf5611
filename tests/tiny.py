"""Tiny detectors with torchvision's interface, some of which misbehave, for trials that take milliseconds.

A misbehaving one does so by its batch size, so that one trial server can be made to fail in every way.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

EFFECTIVE_BATCH = 60
IMPORTED_BY = os.getpid()


class Tiny(nn.Module):
    """One convolution and a loss of its output's size."""

    def __init__(self, mishaps: dict[int, Callable[[Tensor], Tensor | None]] | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.mishaps = mishaps or {}

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        loss = torch.stack([self.conv(image[None]).float().square().mean() for image in images]).mean()
        mishap = self.mishaps.get(len(images))
        changed = mishap(loss) if mishap is not None else None
        return {"loss": loss if changed is None else changed}


def items(count: int = EFFECTIVE_BATCH) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Small images of several sizes, with one box each."""
    draw = torch.Generator().manual_seed(0)
    sizes = ((32, 48), (48, 32), (40, 40))
    return [
        (
            torch.rand(3, *sizes[index % len(sizes)], generator=draw),
            {"boxes": torch.tensor([[2.0, 3.0, 20.0, 24.0]]), "labels": torch.tensor([1])},
        )
        for index in range(count)
    ]


def _kill_itself(loss: Tensor) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _segfault(loss: Tensor) -> None:
    ctypes.string_at(0)


def _exit(loss: Tensor) -> None:
    os._exit(7)


def _kill_the_server(loss: Tensor) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def _sleep(loss: Tensor) -> None:
    time.sleep(3600)


def _allocate(loss: Tensor) -> None:
    # Touched, not only reserved, and all of it held.
    held = [torch.ones(25_000_000) for _ in range(200)]
    raise AssertionError(f"allocated {len(held)} x 100 MB: no limit was in force")


def _not_finite(loss: Tensor) -> Tensor:
    return loss * float("nan")


def _unsupported(loss: Tensor) -> None:
    torch.linalg.inv(torch.eye(3, dtype=torch.float16))


def _raise(loss: Tensor) -> None:
    raise ValueError("targets of the wrong kind")


_STORE = 64 * 2**20


def _page(loss: Tensor) -> None:
    """Read a file back from disk page by page, as a machine that swaps does."""
    with tempfile.TemporaryFile(dir=os.environ.get("AUTOTUNE_TEST_DISK")) as file:
        file.write(os.urandom(_STORE))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
            pages.madvise(mmap.MADV_RANDOM)
            sum(pages[at] for at in range(0, _STORE, mmap.PAGESIZE))


MISHAPS: dict[int, Callable[[Tensor], Tensor | None]] = {
    2: _kill_itself,
    3: _segfault,
    4: _exit,
    5: _kill_the_server,
    6: _sleep,
    10: _allocate,
    12: _not_finite,
    15: _unsupported,
    20: _raise,
    30: _page,
}


def plain() -> nn.Module:
    return Tiny()


def misbehaving() -> nn.Module:
    return Tiny(MISHAPS)


class CrashesInChannelsLast(Tiny):
    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        if not self.conv.weight.is_contiguous():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images, targets)


class Sleeper(Tiny):
    """A step takes as long as seconds says, faster in channels_last: for runs that must be caught midway."""

    seconds = 0.02

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        time.sleep(self.seconds * (1.0 if self.conv.weight.is_contiguous() else 0.5))
        return super().forward(images, targets)


def crashes_in_channels_last() -> nn.Module:
    return CrashesInChannelsLast()


def sleeper() -> nn.Module:
    return Sleeper()


def not_a_module() -> int:
    return 3


def broken() -> nn.Module:
    raise RuntimeError("no such backbone")


class Hungry(Tiny):
    """Takes 200 MB for the time of each step."""

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        held = torch.ones(50_000_000)
        losses = super().forward(images, targets)
        del held
        return losses


class Telltale(Tiny):
    """Says in an exception which settings reached it."""

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        activation = self.conv(images[0][None])
        last = activation.is_contiguous(memory_format=torch.channels_last)
        raise ValueError(f"{activation.dtype}, channels_last {last}, flags {torch.backends.cuda.matmul.fp32_precision}")


class SaysWhoImportedIt(Tiny):
    """Fails where this module, and torch before it, were not loaded by the parent of the process that trains."""

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        if os.getppid() != IMPORTED_BY:
            raise ValueError(f"imported by {IMPORTED_BY}, run by {os.getpid()}, a child of {os.getppid()}")
        return super().forward(images, targets)


def hungry() -> nn.Module:
    return Hungry()


def telltale() -> nn.Module:
    return Telltale()


def says_who_imported_it() -> nn.Module:
    return SaysWhoImportedIt()
