"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

__all__ = [
    "CocoFile",
    "Device",
    "EffectiveBatch",
    "Force",
    "FromScratch",
    "ImageSize",
    "Images",
    "Only",
    "Optimizer",
    "Seed",
    "SkipBad",
    "Voc",
    "Weights",
]

CocoFile: TypeAlias = Annotated[Path | None, typer.Option(help="COCO annotations (JSON); needs --images.")]
Images: TypeAlias = Annotated[Path | None, typer.Option(help="The folder of the images of --data.")]
Voc: TypeAlias = Annotated[Path | None, typer.Option(help="A Pascal VOC folder: Annotations/ and JPEGImages/.")]
SkipBad: TypeAlias = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out broken images and boxes, and count them.")
]
# autotune.detectors.input_size.SMALLEST_PX, which would load torch.
ImageSize: TypeAlias = Annotated[int | None, typer.Option(min=64, help="The detector's input size in pixels.")]
FromScratch: TypeAlias = Annotated[bool, typer.Option("--from-scratch", help="All layers trained, live batch norm.")]
Weights: TypeAlias = Annotated[str | None, typer.Option(help="A state dict's path, or `default` for torchvision's.")]
EffectiveBatch: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1, help="Images per optimizer step, kept exactly. [default: a given config's, else 16 on a GPU, 4 on a CPU]"
    ),
]
Optimizer: TypeAlias = Annotated[Literal["adamw", "sgd"], typer.Option(help="The optimizer of the training step.")]
Device: TypeAlias = Annotated[str | None, typer.Option(help="cuda, cuda:N or cpu. [default: CUDA where there is one]")]
Only: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SETTING=VALUES", help="Try only these, as precision=fp32,bf16 or channels_last=false; may be repeated."
    ),
]
# What torch.manual_seed() takes.
Seed: TypeAlias = Annotated[int, typer.Option(min=-(2**63), max=2**63 - 1, help="Seed of weights, images and order.")]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Overwrite a run that stands in the directory.")]
