"""The detectors known by name. Loads no torch, so that listing and checking names stays instant."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from autotune.errors import UsageError

__all__ = ["DETECTORS", "Detector", "find", "named", "nearest"]


@dataclass(frozen=True)
class Detector:
    """A detector of torchvision's.

    min_size, max_size: pixels of the shorter side and limit of the longer one that torchvision resizes to; where it
    draws the shorter side at random, the largest. fixed_size: both sides in pixels, None for a free input size.
    """

    name: str
    torchvision_name: str
    min_size: int = 800
    max_size: int = 1333
    fixed_size: int | None = None
    needs_masks: bool = False
    needs_keypoints: bool = False

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names that find it."""
        return (self.torchvision_name,)


DETECTORS: tuple[Detector, ...] = (
    Detector("frcnn_mobilenet", "fasterrcnn_mobilenet_v3_large_fpn"),
    Detector("frcnn_mobilenet_320", "fasterrcnn_mobilenet_v3_large_320_fpn", min_size=320, max_size=640),
    Detector("frcnn_resnet50", "fasterrcnn_resnet50_fpn"),
    Detector("frcnn_resnet50_v2", "fasterrcnn_resnet50_fpn_v2"),
    Detector("retinanet_resnet50", "retinanet_resnet50_fpn"),
    Detector("retinanet_resnet50_v2", "retinanet_resnet50_fpn_v2"),
    Detector("fcos_resnet50", "fcos_resnet50_fpn"),
    Detector("ssd300_vgg16", "ssd300_vgg16", min_size=300, max_size=300, fixed_size=300),
    Detector("ssdlite320_mobilenet", "ssdlite320_mobilenet_v3_large", min_size=320, max_size=320, fixed_size=320),
    Detector("maskrcnn_resnet50", "maskrcnn_resnet50_fpn", needs_masks=True),
    Detector("maskrcnn_resnet50_v2", "maskrcnn_resnet50_fpn_v2", needs_masks=True),
    Detector("keypointrcnn_resnet50", "keypointrcnn_resnet50_fpn", needs_keypoints=True),
)

_BY_NAME = {name: detector for detector in DETECTORS for name in (detector.name, *detector.aliases)}


def find(name: str) -> Detector | None:
    """The detector of that name or alias, in whatever case; None where there is none."""
    return _BY_NAME.get(name.lower())


def nearest(name: str) -> tuple[str, ...]:
    """Up to three known names that look like name, the likeliest first."""
    alike = get_close_matches(name.lower(), _BY_NAME, n=6, cutoff=0.5)
    return tuple(dict.fromkeys(_BY_NAME[match].name for match in alike))[:3]


def named(name: str) -> Detector:
    """The detector of that name or alias. Raises UsageError, with the nearest names, where there is none."""
    detector = find(name)
    if detector is None:
        near = nearest(name)
        hint = f"did you mean {' or '.join(near)}?" if near else "`autotune models` lists the names"
        raise UsageError(f"no detector is named {name!r}; {hint} (your own: --model package.module:factory)")
    return detector
