"""Whole detectors, recorded on the CPU at a small input size: every layer is found, and depthwise ones cost little."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from autotune.config import TrainingConfig
from autotune.datasheet import datasheet_ceilings
from autotune.probes.analysis import profile_of_trace
from autotune.probes.recording import record
from autotune.profile_record import Phase, Profile
from autotune.records import Job, ModelSpec
from autotune.workload.prepare import prepare
from autotune.workload.step import OptimizerStep

CPU = torch.device("cpu")
# Live batch norm wants more than one value a channel.
BATCH = 2


def _recorded(name: str, path: Path, image_size: int | None) -> tuple[nn.Module, Profile]:
    job = Job(model=ModelSpec(name=name, image_size=image_size), device="cpu", effective_batch=BATCH)
    prepared = prepare(job)
    config = TrainingConfig(batch_size=BATCH, accumulation_steps=1)
    step = OptimizerStep(prepared.model, config, job, CPU)
    record(lambda number: step(prepared.pool.step(number), number), [0], step.model, CPU, path, {"model": name})
    return step.model, profile_of_trace(path)


@pytest.mark.parametrize(
    ("name", "image_size"),
    [
        ("frcnn_mobilenet", 96),
        ("maskrcnn_resnet50", 96),
        ("retinanet_resnet50_v2", 96),
        ("ssdlite320_mobilenet", None),
    ],
)
def test_the_layers_of_a_detector_explain_all_its_time(name: str, image_size: int | None, tmp_path: Path) -> None:
    model, profile = _recorded(name, tmp_path / "trace.json.gz", image_size)
    assert profile.coverage >= 0.99
    assert sum(layer.time_ms for layer in profile.layers) == pytest.approx(profile.busy_ms, rel=1e-12)
    found = {layer.layer: layer for layer in profile.layers if layer.phase is Phase.BACKWARD}
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    trained = {name for name, module in convolutions.items() if module.weight.requires_grad}
    assert trained <= found.keys(), trained - found.keys()
    # Frozen ones at the bottom of the backbone have none.
    assert not {name for name in convolutions.keys() - trained if name in found and found[name].flops}


def test_depthwise_layers_are_bound_by_memory_on_a_gpu_forward_and_backward(tmp_path: Path) -> None:
    path = tmp_path / "trace.json.gz"
    model, _ = _recorded("frcnn_mobilenet", path, 160)
    depthwise = {
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
    }
    assert len(depthwise) >= 10
    # By the costs alone: labels of the times that a busy CPU took are no test.
    for gpu in ("NVIDIA H100 80GB HBM3", "Tesla V100-SXM2-32GB", "Tesla T4"):
        there = profile_of_trace(path, ceilings=datasheet_ceilings(gpu))
        rows = [layer for layer in there.layers if layer.layer in depthwise and layer.flops]
        assert {layer.phase for layer in rows} == {Phase.FORWARD, Phase.BACKWARD}
        for layer in rows:
            assert layer.memory_ms > layer.compute_ms > 0.0, (gpu, layer.layer, layer.phase)
            assert layer.arithmetic == "vector"
