from __future__ import annotations

import random

import pytest

import profiles
import records
from autotune.config import Precision, TrainingConfig
from autotune.profile_record import Bound, Layer, Phase
from autotune.records import ModelSpec, Outcome, RunRecord

# What breaks out of a script element, of an attribute, of Plotly's own markup, and of a template.
HOSTILE = "</script><script>window.broken=1</script><img src=x onerror='window.broken=1'><b>{{7*7}}%{x}&lt;"


def large_layers(count: int) -> list[Layer]:
    dice = random.Random(0)
    return [
        profiles.layer(
            f"backbone.body.layer{place % 4}.{place // 8}.conv",
            (Phase.FORWARD, Phase.BACKWARD)[place // 4 % 2],
            dice.lognormvariate(-2.0, 1.5),
            dice.choice(list(Bound)),
            flops=10.0 ** dice.uniform(6.0, 12.0),
            bytes=10.0 ** dice.uniform(5.0, 9.0),
            module="Conv2d",
        )
        for place in range(count)
    ]


@pytest.fixture(scope="session")
def large() -> RunRecord:
    """3,000 layers and 500 trials of 50 configs."""
    dice = random.Random(0)
    trials = [
        records.ok(
            TrainingConfig(
                batch_size=2 ** dice.randint(0, 4),
                precision=dice.choice(list(Precision)),
                channels_last=dice.random() < 0.5,
            ),
            dice.lognormvariate(5.0, 0.5),
            timeline=profiles.timeline(30),
        )
        for _ in range(484)
    ]
    return records.run_record(
        [*trials, *records.race(records.BF16, 404.0, 174.9, blocks=8)],
        recommendation=records.faster().recommendation,
        profile=profiles.detector_profile(large_layers(3000), nvml=profiles.nvml_series(300)),
    )


@pytest.fixture(scope="session")
def hostile() -> RunRecord:
    """A run in which every text from outside would break the page."""
    layers = [
        profiles.layer(f"backbone.{HOSTILE}", Phase.FORWARD, 9.0, module=HOSTILE),
        profiles.layer("rpn.conv", Phase.BACKWARD, 5.0, Bound.COMPUTE),
    ]
    trials = [*records.faster().trials, records.failed(records.TF32, Outcome.CRASHED, HOSTILE)]
    return records.run_record(
        trials,
        recommendation=records.faster().recommendation,
        job=records.faster().job.model_copy(update={"model": ModelSpec(name=HOSTILE)}),
        workload=records.FACTS.model_copy(update={"model": HOSTILE, "data": HOSTILE, "notes": (HOSTILE,)}),
        machine=records.H200.model_copy(update={"device_name": HOSTILE}),
        command=("autotune", "run", "--data", f"/tmp/{HOSTILE}"),
        left_out=(HOSTILE,),
        error=HOSTILE,
        profile=profiles.detector_profile(layers, model=HOSTILE, notes=(HOSTILE,)),
    )
