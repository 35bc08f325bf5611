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

Mishap = Callable[[Tensor, list[Tensor]], Tensor | None]

EFFECTIVE_BATCH = 60
IMPORTED_BY = os.getpid()


class Tiny(nn.Module):
    """One convolution and a loss of its output's size."""

    def __init__(self, mishaps: dict[int, Mishap] | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.mishaps = mishaps or {}

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        maps = [self.conv(image[None]) for image in images]
        loss = torch.stack([each.float().square().mean() for each in maps]).mean()
        mishap = self.mishaps.get(len(images))
        changed = mishap(loss, maps) if mishap is not None else None
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


def _kill_itself(loss: Tensor, maps: list[Tensor]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _segfault(loss: Tensor, maps: list[Tensor]) -> None:
    ctypes.string_at(0)


def _exit(loss: Tensor, maps: list[Tensor]) -> None:
    os._exit(7)


def _kill_the_server(loss: Tensor, maps: list[Tensor]) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def _sleep(loss: Tensor, maps: list[Tensor]) -> None:
    time.sleep(3600)


def _allocate(loss: Tensor, maps: list[Tensor]) -> None:
    # Touched, not only reserved, and all of it held.
    held = [torch.ones(25_000_000) for _ in range(200)]
    raise AssertionError(f"allocated {len(held)} x 100 MB: no limit was in force")


def _not_finite(loss: Tensor, maps: list[Tensor]) -> Tensor:
    return loss * float("nan")


def _unsupported(loss: Tensor, maps: list[Tensor]) -> None:
    torch.linalg.inv(torch.eye(3, dtype=torch.float16))


def _tell(loss: Tensor, maps: list[Tensor]) -> None:
    """Raise, and say which settings reached this process, and whether it had to import torch itself."""
    last = maps[0].is_contiguous(memory_format=torch.channels_last)
    imported = "here" if os.getpid() == IMPORTED_BY else "by its parent" if os.getppid() == IMPORTED_BY else "elsewhere"
    raise ValueError(f"{maps[0].dtype}, channels_last {last}, torch imported {imported}")


def _hold_200_megabytes(loss: Tensor, maps: list[Tensor]) -> None:
    torch.ones(50_000_000)


_STORE = 16 * 2**20


def _page(loss: Tensor, maps: list[Tensor]) -> None:
    """Read a file back from disk page by page, as a machine that swaps does. /var/tmp lies on a disk; /tmp may not."""
    with tempfile.TemporaryFile(dir="/var/tmp") as file:
        file.write(os.urandom(_STORE))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
            pages.madvise(mmap.MADV_RANDOM)
            sum(pages[at] for at in range(0, _STORE, mmap.PAGESIZE))


MISHAPS: dict[int, Mishap] = {
    2: _kill_itself,
    3: _segfault,
    4: _exit,
    5: _kill_the_server,
    6: _sleep,
    10: _allocate,
    1: _not_finite,
    15: _unsupported,
    12: _hold_200_megabytes,
    20: _tell,
    30: _page,
}


def plain() -> nn.Module:
    return Tiny()


def misbehaving() -> nn.Module:
    return Tiny(MISHAPS)


def orphaned() -> nn.Module:
    """Ends the process that wants it, and takes long to build."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(3600)
    raise AssertionError("nobody waits for it any more")


def greedy() -> nn.Module:
    """Needs more memory for four images than there is."""
    return Tiny({4: _allocate})


class CrashesInChannelsLast(Tiny):
    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        if not self.conv.weight.is_contiguous():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images, targets)


class Sleeper(Tiny):
    """Each forward pass sleeps, far less in channels_last: no noise of a busy machine hides which is faster."""

    contiguous_s, channels_last_s = 0.1, 0.002

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        time.sleep(self.contiguous_s if self.conv.weight.is_contiguous() else self.channels_last_s)
        return super().forward(images, targets)


def crashes_in_channels_last() -> nn.Module:
    return CrashesInChannelsLast()


def sleeper() -> nn.Module:
    return Sleeper()


def not_a_module() -> int:
    return 3


def broken() -> nn.Module:
    raise RuntimeError("no such backbone")


def always_raises() -> nn.Module:
    return Tiny(dict.fromkeys(range(1, EFFECTIVE_BATCH + 1), _tell))


def _steepen(loss: Tensor, maps: list[Tensor]) -> Tensor:
    return 1e5 * loss


def _steepen_without_end(loss: Tensor, maps: list[Tensor]) -> Tensor:
    return 1e30 * loss


def steep() -> nn.Module:
    """Its gradients overflow in fp16 until the loss's scale has come down; at batch size 2 at any scale."""
    return Tiny({4: _steepen, 2: _steepen_without_end})


class Thrashing(Tiny):
    """Asks in every step for a block that is larger than any before: where there are 2 GB in all, it fits only once the
    allocator has given back its cache."""

    def __init__(self) -> None:
        super().__init__()
        self.megabytes = 1000

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        losses = super().forward(images, targets)
        self.megabytes += 10
        torch.empty(self.megabytes * 2**20, dtype=torch.uint8, device=images[0].device)
        return losses


def thrashing() -> nn.Module:
    return Thrashing()


class Padding(Tiny):
    """Takes memory by the padded batch, as detectors do: 24 KB for each of its pixels, held until the loss is there.
    The limit counts it, though nothing is written to it, which would take time."""

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        height, width = (max(image.shape[side] for image in images) for side in (-2, -1))
        held = torch.empty(len(images) * height * width * 6000)
        losses = super().forward(images, targets)
        del held
        return losses


def padding() -> nn.Module:
    return Padding()


class Compilable(nn.Module):
    """Small enough to be compiled in seconds; it reads a value, which ends a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.last = nn.Linear(8, 1)

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        colours = torch.stack([image.mean((1, 2)) for image in images])
        if colours.sum().item() < 0.0:
            colours = -colours
        return {"loss": self.last(self.first(colours).relu()).square().mean()}


def compilable() -> nn.Module:
    return Compilable()
