from __future__ import annotations

import pytest

import profiles
import records
from autotune.profile_record import Bound, Phase
from autotune.records import ModelSpec, Outcome, RunRecord

# What breaks out of a script element, of an attribute, of Plotly's own markup, and of a template.
HOSTILE = "</script><script>window.broken=1</script><img src=x onerror='window.broken=1'><b>{{7*7}}%{x}&lt;"


@pytest.fixture(scope="session")
def large() -> RunRecord:
    return records.large()


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
