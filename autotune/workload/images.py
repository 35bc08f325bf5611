"""Image files: their size from the header, their pixels as a tensor."""

from __future__ import annotations

import struct
from pathlib import Path

import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from autotune.errors import DataError

__all__ = ["header_size", "read_image", "to_tensor"]

# What Pillow raises on files that are not what they seem, over its many decoders.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def header_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels from the file's header. Raises DataError where there is no image."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except FileNotFoundError:
        raise DataError(f"{path}: no image file there") from None
    except _UNREADABLE as error:
        raise DataError(f"{path}: not a readable image ({_in_short(error, path)})") from None


def read_image(path: Path) -> torch.Tensor:
    """The image as float32 3xHxW in [0, 1]. Raises DataError where the file is truncated or no image.

    The EXIF orientation is not applied, as in torchvision's reference training: annotations go with the stored pixels.
    """
    try:
        with Image.open(path) as image:
            return to_tensor(image)
    except FileNotFoundError:
        raise DataError(f"{path}: no image file there") from None
    except _UNREADABLE as error:
        raise DataError(f"{path}: the image cannot be decoded ({_in_short(error, path)})") from None


def to_tensor(image: Image.Image) -> torch.Tensor:
    """A Pillow image of any mode as float32 3xHxW in [0, 1]."""
    if image.mode.startswith("I"):
        # Greyscale of 16 bits: Pillow's own conversion to RGB would cut every value off at 255.
        grey: torch.Tensor = pil_to_tensor(image.convert("I")).to(torch.float32)
        return grey.div_(65535.0).clamp_(0.0, 1.0).expand(3, -1, -1).contiguous()
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns where a transparent palette goes straight to RGB
    pixels: torch.Tensor = pil_to_tensor(image.convert("RGB"))
    return pixels.to(torch.float32).div_(255.0)


def _in_short(error: BaseException, path: Path) -> str:
    """The reason without the path, which the sentence names already."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        "no known image format" if "cannot identify image file" in text else text.replace(repr(str(path)), "the file")
    )
