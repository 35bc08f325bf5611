from __future__ import annotations

import math
import random

import pytest

from autotune.config import EXTRA_KNOBS, Circumstances, Precision
from autotune.profile_record import Advice, Bound, Phase
from autotune.tuner.cell_search import CellSearch
from autotune.tuner.promise import could_bring, is_hopeless, ordered
from autotune.tuner.space import Space
from profiles import layer, profile
from simulated import SimulatedBench

GPU = Circumstances("cuda", 16, (9, 0), native_bf16=True)
OPTIMIZER = EXTRA_KNOBS["optimizer"]


def _advice(knob: str, value: str, **saved_ms: float) -> Advice:
    saved = {Bound(bound): ms for bound, ms in saved_ms.items()}
    return Advice(knob=knob, value=value, speedup_at_most=1.5, saved_ms=saved, sentence="if all came down")


def _first(count: int, *advice: Advice) -> list[str]:
    space = Space(GPU)
    space.take(profile([layer("backbone", Phase.FORWARD, 80.0)], advice=advice))
    settings = space.settings(space.baseline)
    return [config.settings_label().removesuffix(" + cudnn.benchmark") for config in list(settings)[: 2 * count]][::2]


def test_memory_bound_steps_try_channels_last_and_half_precision_first():
    advice = (
        _advice("channels_last", "true", memory=30.0, latency=20.0),
        _advice("precision", "bf16", memory=35.0, compute=5.0),
        _advice("precision", "tf32", compute=5.0),
    )
    assert _first(4, *advice) == ["bf16 + channels_last", "fp16 + channels_last", "bf16", "fp16"]


def test_compute_bound_steps_try_precisions_first_and_the_fastest_half_of_them():
    advice = (
        _advice("precision", "fp16", compute=50.0, memory=5.0),
        _advice("precision", "tf32", compute=30.0),
        _advice("channels_last", "true", memory=4.0, latency=60.0),
    )
    names = ["fp16 + channels_last", "bf16 + channels_last", "fp16", "bf16", "tf32 + channels_last", "tf32"]
    assert _first(6, *advice) == names


@pytest.mark.parametrize("sizes_vary", [False, True])
def test_cudnn_benchmark_is_promising_only_where_images_have_one_size(sizes_vary: bool) -> None:
    """On an H200 its first step took 15 s, and each new image size 9 s more."""
    space = Space(GPU)
    advice = (_advice("precision", "bf16", compute=50.0), _advice("cudnn_benchmark", "true", compute=30.0))
    space.take(profile([layer("backbone", Phase.FORWARD, 80.0)], advice=advice), sizes_vary=sizes_vary)
    first = next(space.settings(space.baseline))
    assert first.precision is Precision.BF16
    assert first.cudnn_benchmark is not sizes_vary
    settings = list(space.settings(space.baseline))
    assert len(settings) == len(set(settings)) == len(list(Space(GPU).settings(space.baseline)))
    last = [config.cudnn_benchmark for config in settings[-len(settings) // 2 :]]
    assert all(last) is sizes_vary
    if sizes_vary:
        benchmarking = [config for config in settings if config.cudnn_benchmark]
        assert benchmarking[0].precision is Precision.BF16
        assert [config.channels_last for config in benchmarking] == sorted(each.channels_last for each in benchmarking)


def test_without_advice_the_order_stays_and_nothing_is_lost_with_it():
    plain = Space(GPU)
    settings = list(plain.settings(plain.baseline))
    assert ordered(settings, ()) == settings
    advice = (_advice("channels_last", "true", memory=30.0), _advice("compile", "true", host=99.0))
    shuffled = random.Random(0).sample(settings, len(settings))
    assert set(ordered(shuffled, advice)) == set(settings)
    waiting = (_advice("batch_size", "larger", host=50.0), _advice("compile", "true", host=99.0))
    assert ordered(settings, waiting) == settings


def _with_update(ms: float):
    return profile([layer("backbone", Phase.FORWARD, 80.0), layer("(optimizer)", Phase.OPTIMIZER, ms)])


def test_the_updates_time_bounds_what_its_code_could_bring():
    # Twice 5 of 50 ms gone: 50 / 40.
    assert could_bring(_with_update(5.0), OPTIMIZER, 50.0) == pytest.approx(math.log(50.0 / 40.0))
    assert could_bring(_with_update(5.0), EXTRA_KNOBS["compile"], 50.0) is None
    assert could_bring(profile([layer("backbone", Phase.FORWARD, 80.0)]), OPTIMIZER, 50.0) is None
    assert could_bring(_with_update(40.0), OPTIMIZER, 50.0) is None, (
        "a profile that tells of another step bounds nothing"
    )


def test_an_update_that_is_next_to_nothing_is_not_made_faster():
    assert is_hopeless(_with_update(0.2), OPTIMIZER, 100.0) == (
        "optimizer: not tried: the whole update is 0.2% of the fastest step, by the profile"
    )
    assert is_hopeless(_with_update(0.8), OPTIMIZER, 100.0) is None
    assert is_hopeless(None, OPTIMIZER, 100.0) is None


@pytest.mark.parametrize(("update_ms", "tried"), [(0.1, False), (20.0, True)])
def test_the_search_leaves_out_a_knob_that_could_bring_nothing_and_says_so(update_ms, tried):
    def step_s(config):
        return 0.1 if config.precision is Precision.BF16 else 0.2

    bench = SimulatedBench(GPU, step_s, budget_s=600.0)
    space = Space(GPU, knobs=("optimizer",))
    space.take(_with_update(update_ms))
    found = CellSearch().run(bench, space)
    assert any(trial.config.uses(OPTIMIZER) for trial in bench.trials) is tried
    assert any(note.startswith("optimizer: not tried") for note in found.notes) is not tried
