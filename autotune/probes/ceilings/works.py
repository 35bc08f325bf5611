"""What is timed for each ceiling, on random data: zeros draw less power, and a GPU clocks higher on them."""

from __future__ import annotations

from functools import partial

import torch

from autotune.probes.ceilings.last_level_cache import last_level_cache_bytes
from autotune.probes.ceilings.sampling import Rung, Work, free_bytes

__all__ = ["convolution", "copy", "host_to_device", "launch", "matrix", "vector"]

_MIB = 1 << 20
_TILE = 4 * _MIB
_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_MATRIX_SIDES = (512, 1024, 2048, 4096, 8192, 16384)
# (images, side of the map): a 3x3 convolution of 256 channels, as FPN and RetinaNet run at every level, of stride 2:
# with stride 1 it runs by Winograd in fp32, which does 2.25 times fewer multiplications than are counted.
_MAPS = ((1, 64), (1, 128), (1, 256), (4, 256), (16, 256))
_CHANNELS = 256
_CHAINS = 4
_CHAIN_LENGTH = 1024
# x * x + p with p between -1.75 and -1.5 stays within [-2, 2] and never settles: a chain that ran to a fixed point
# would compute the same bits again and again, at less power. Four chains hide the latency of the unit.
_CHAIN_KERNEL = f"""
template <typename T> T multiply_add_chain(T x, T y) {{
  T a = x, b = y, c = -x, d = -y;
  const T p = T(-1.5) - T(0.25) * x * x, q = T(-1.5) - T(0.25) * y * y;
  #pragma unroll 64
  for (int i = 0; i < {_CHAIN_LENGTH}; ++i) {{
    a = a * a + p;
    b = b * b + q;
    c = c * c + q;
    d = d * d + p;
  }}
  return a + b + c + d;
}}
"""


def matrix(device: torch.device, precision: str) -> list[Rung]:
    """FLOPs of a square matrix product, 2 n^3."""
    dtype = _DTYPES[precision]
    # Drawing the largest on a CPU takes seconds.
    sides = _MATRIX_SIDES if device.type == "cuda" else _MATRIX_SIDES[:-1]

    def build(side: int) -> Work:
        left, right = (_random((side, side), device, dtype, seed) for seed in (0, 1))
        return partial(torch.mm, left, right, out=torch.empty_like(left))

    return [Rung(2.0 * side**3, 3.0 * side**2 * dtype.itemsize, partial(build, side)) for side in sides]


def convolution(device: torch.device, precision: str) -> list[Rung]:
    """FLOPs of a padded 3x3 convolution; channels_last, the layout of tensor cores, but contiguous in fp32."""
    dtype = _DTYPES[precision]
    layout = torch.contiguous_format if precision == "fp32" else torch.channels_last

    def build(images: int, side: int) -> Work:
        maps = _random((images, _CHANNELS, side, side), device, dtype, 0).contiguous(memory_format=layout)
        weight = _random((_CHANNELS, _CHANNELS, 3, 3), device, dtype, 1).contiguous(memory_format=layout)
        return partial(torch.nn.functional.conv2d, maps, weight, stride=2, padding=1)

    return [
        Rung(
            2.0 * 9 * _CHANNELS**2 * images * (side // 2) ** 2,
            1.25 * images * _CHANNELS * side**2 * dtype.itemsize,
            partial(build, images, side),
        )
        for images, side in _MAPS
    ]


def vector(device: torch.device) -> list[Rung]:
    """FLOPs of fp32 multiply-adds in registers, in a kernel that torch's jiterator compiles; CUDA only.

    One element takes 8192 FLOPs and 12 bytes of memory traffic: 30 times more than any GPU needs to be bound by it.
    """
    # Loaded with torch.cuda by torch itself; a build without it raises, and the caller has another figure.
    from torch.cuda.jiterator import _create_jit_fn

    chain = _create_jit_fn(_CHAIN_KERNEL)

    def build(elements: int) -> Work:
        return partial(chain, *(_random((elements,), device, torch.float32, seed, uniform=True) for seed in (0, 1)))

    flops = 2.0 * _CHAINS * _CHAIN_LENGTH
    return [Rung(flops * count, 12.0 * count, partial(build, count)) for count in (_MIB, 4 * _MIB, 16 * _MIB)]


def copy(device: torch.device) -> list[Rung]:
    """Bytes read and written by a copy within the device's memory, of several times its last-level cache."""
    cache_bytes = last_level_cache_bytes(device)
    wanted = max(256 * _MIB, 8 * cache_bytes) if device.type == "cuda" else max(64 * _MIB, 4 * cache_bytes)
    count = max(_TILE, min(wanted, free_bytes(device) // 8) // _TILE * _TILE)

    def build() -> Work:
        source = _tiled(count, device)
        return partial(torch.empty_like(source).copy_, source)

    return [Rung(2.0 * count, 2.0 * count, build)]


def host_to_device(device: torch.device) -> list[Rung]:
    """Bytes copied from pinned host memory; CUDA only."""
    count = 128 * _MIB

    def build() -> Work:
        source = _tiled(count, torch.device("cpu")).pin_memory()
        return partial(torch.empty_like(source, device=device).copy_, source, non_blocking=True)

    return [Rung(float(count), float(count), build)]


def launch(device: torch.device) -> list[Rung]:
    """One launch. On CUDA a kernel that waits for no cycle, called without the dispatcher; else the smallest operator.

    On CUDA launches are queued, so that what counts is the slower of the host's calls and the device's starts.
    """

    def build() -> Work:
        if device.type == "cuda":
            return partial(torch.cuda._sleep, 0)  # noqa: SLF001, torch has no public empty kernel
        return _random((1,), device, torch.float32, 0).neg_

    return [Rung(1.0, 0.0, build)]


def _random(
    shape: tuple[int, ...], device: torch.device, dtype: torch.dtype, seed: int, *, uniform: bool = False
) -> torch.Tensor:
    """Normal numbers, or uniform ones in [0, 1), from a generator of their own: the caller's sequence goes on."""
    generator = torch.Generator(device=device).manual_seed(seed)
    draw = torch.rand if uniform else torch.randn
    return draw(shape, generator=generator, device=device, dtype=dtype)


def _tiled(count_bytes: int, device: torch.device) -> torch.Tensor:
    """Random bytes: 4 MiB of them, again and again, since drawing takes a CPU far longer than copying."""
    tile = _random((_TILE // torch.float32.itemsize,), device, torch.float32, 0)
    return tile.repeat(count_bytes // _TILE)
