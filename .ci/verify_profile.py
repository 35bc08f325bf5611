"""Verify what `autotune profile --json --out DIR` left: python verify_profile.py STDOUT.json DIR."""

from __future__ import annotations

import json
import sys
from pathlib import Path

PARTS = ("step_ms", "coverage", "layers", "classes", "ceilings", "device")
LAYER = {"layer", "phase", "flops", "bytes", "time_ms", "bound", "compute_ratio", "memory_ratio"}
FILES = ("run.json", "report.md", "layers.csv", "trace.json.gz")

stdout, directory = Path(sys.argv[1]), Path(sys.argv[2])
document = json.loads(stdout.read_text(encoding="utf-8"))
faults = [f"stdout: {part} is absent" for part in PARTS if not document.get(part)]
faults += [f"{directory / name}: absent" for name in FILES if not (directory / name).is_file()]
if not faults:
    faults += [] if document["coverage"] >= 0.99 else [f"coverage is {document['coverage']}"]
    faults += [
        f"layer {layer['layer']}: lacks {LAYER - set(layer)}" for layer in document["layers"] if LAYER - set(layer)
    ]
if faults:
    sys.exit("\n".join(faults))
sys.stdout.write(f"{directory.name}: {document['coverage']:.2%} of the busy time belongs to a layer\n")
