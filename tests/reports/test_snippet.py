from __future__ import annotations

import itertools

import pytest
import torch

from autotune.config import Precision, TrainingConfig
from autotune.reports.snippet import training_snippet
from watched import CountingSGD, Detector


def run(config: TrainingConfig, batches: int) -> tuple[Detector, CountingSGD]:
    torch.manual_seed(0)
    model = Detector()
    optimizer = CountingSGD(model.parameters(), lr=0.1)
    images = [torch.rand(3, 8, 8) for _ in range(config.batch_size)]
    source = training_snippet(config, "cpu")
    exec(
        compile(source, "snippet", "exec"), {"model": model, "optimizer": optimizer, "loader": [(images, [])] * batches}
    )
    return model, optimizer


def test_it_trains_as_the_config_says():
    config = TrainingConfig(batch_size=2, accumulation_steps=2, precision=Precision.BF16, channels_last=True)
    model, optimizer = run(config, batches=4)
    assert model.seen == [(True, torch.bfloat16)] * 4
    assert optimizer.steps == 2


def test_accumulation_makes_the_step_of_the_whole_batch():
    whole, _ = run(TrainingConfig(batch_size=2, precision=Precision.FP32), batches=1)
    halves, _ = run(TrainingConfig(batch_size=2, accumulation_steps=3, precision=Precision.FP32), batches=3)
    torch.testing.assert_close(whole.backbone.weight, halves.backbone.weight)


def test_batches_are_copied_to_the_device():
    detector = Detector().to("meta")
    batch = ([torch.rand(3, 8, 8)], [{"boxes": torch.rand(1, 4)}])
    names = {"model": detector, "optimizer": torch.optim.SGD(detector.parameters(), lr=0.1), "loader": [batch]}
    exec(compile(training_snippet(TrainingConfig(batch_size=1), "meta"), "snippet", "exec"), names)
    assert {image.device.type for image in names["images"]} == {"meta"}
    assert names["targets"][0]["boxes"].device.type == "meta"


@pytest.mark.parametrize(
    "config",
    [
        TrainingConfig(batch_size=2, precision=precision, channels_last=nhwc, cudnn_benchmark=benchmark)
        for precision, nhwc, benchmark in itertools.product(Precision, (True, False), (True, False, None))
    ],
)
def test_every_config_gives_valid_python(config):
    source = training_snippet(config, "cuda")
    compile(source, "snippet", "exec")
    assert ("autocast" in source) == (config.precision in (Precision.FP16, Precision.BF16))
    assert ("GradScaler" in source) == (config.precision is Precision.FP16)
    assert ("allow_tf32" in source) == (config.precision in (Precision.FP32, Precision.TF32))
    assert ("cudnn.benchmark = True" in source) == (config.cudnn_benchmark is True)
