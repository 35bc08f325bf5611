"""Verify what `autotune run --json --out DIR` left: python verify_run.py STDOUT.json DIR."""

from __future__ import annotations

import json
import sys
from pathlib import Path

PARTS = ("schema_version", "status", "command", "machine", "workload", "baseline", "trials", "recommendation")
FILES = ("run.json", "trials.jsonl", "config.yaml", "report.md", "trials.csv")

stdout, directory = Path(sys.argv[1]), Path(sys.argv[2])
document = json.loads(stdout.read_text(encoding="utf-8"))
faults = [f"stdout: {part} is absent" for part in PARTS if not document.get(part)]
faults += [f"{directory / name}: absent or empty" for name in FILES if not (directory / name).is_file()]
if not faults:
    faults += [] if document["status"] == "finished" else [f"stdout: status is {document['status']}"]
    faults += [] if any(trial["outcome"] == "ok" for trial in document["trials"]) else ["stdout: no trial is ok"]
    kept = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    faults += [] if len(kept["trials"]) == len(document["trials"]) else ["run.json and stdout differ in their trials"]
if faults:
    sys.exit("\n".join(faults))
sys.stdout.write(f"{directory.name}: {document['recommendation']['verdict']['sentence']}\n")
