from __future__ import annotations

import pytest

import tiny
from autotune.config import Circumstances, TrainingConfig
from autotune.errors import DeviceError
from autotune.records import Outcome, Stage, Trial
from autotune.tuner.bench import LiveBench
from autotune.tuner.cell_search import CellSearch
from autotune.tuner.order import Order
from autotune.tuner.search import Findings
from autotune.tuner.space import Space
from autotune.tuner.tensor_limit import TensorLimit
from simulated import SimulatedBench

LIMIT = 2**31 - 1
MANY = Circumstances("cuda", 64, (9, 0), native_bf16=True)


def _seen(batch_size: int, elements: int | None) -> Trial:
    config = TrainingConfig(batch_size=batch_size)
    return Trial(number=1, stage=Stage.MEMORY, config=config, outcome=Outcome.OK, largest_tensor_elements=elements)


@pytest.mark.parametrize(
    ("input_elements", "seen", "largest"),
    [
        (LIMIT // 8, None, 8),
        (LIMIT // 8 + 1, None, 7),
        (LIMIT // 64, (2, 2 * (LIMIT // 16)), 16),
        (LIMIT // 64, (2, 4), 64),
        (None, (4, LIMIT), 4),
        (None, None, 10**6),
    ],
)
def test_the_largest_batch_is_the_one_whose_largest_tensor_can_be_indexed(
    input_elements: int | None, seen: tuple[int, int] | None, largest: int
) -> None:
    limit = TensorLimit(input_elements)
    if seen:
        limit.take(_seen(*seen))
    assert limit.allows(largest)
    assert largest == 10**6 or not limit.allows(largest + 1)


def test_a_layer_may_be_many_times_larger_than_its_input() -> None:
    limit = TensorLimit(3 * 1333 * 1333)
    assert not limit.may_matter(16)
    assert limit.may_matter(32)
    assert not TensorLimit(None).may_matter(10**6)


def _find(per_image: int, input_elements: int | None) -> tuple[Findings, SimulatedBench]:
    bench = SimulatedBench(
        MANY,
        lambda config: 0.2 * config.accumulation_steps**0.2,
        budget_s=1200.0,
        input_elements=input_elements,
        largest_tensor_elements=lambda config: per_image * config.batch_size,
    )
    return CellSearch().run(bench, Space(MANY)), bench


def test_batches_whose_activations_cannot_be_indexed_are_not_tried_and_it_is_said_why() -> None:
    found, bench = _find(LIMIT // 20, 3 * 1333 * 1333)
    assert bench.trials[0].stage is Stage.MEMORY, "a small batch tells before a large one is tried"
    assert max(trial.config.batch_size for trial in bench.trials) == 16
    assert found.baseline.batch_size == 16
    (note,) = found.notes
    assert note.startswith("batch_size: 32, 64 not tried: at 32 the largest activation would have 3.44e+09 elements")


def test_where_all_can_be_indexed_nothing_is_left_out() -> None:
    found, bench = _find(LIMIT // 64, 3 * 1333 * 1333)
    assert found.notes == ()
    assert max(trial.config.batch_size for trial in bench.trials) == 64


def test_small_inputs_need_no_look_at_the_tensors() -> None:
    _, bench = _find(LIMIT, 3 * 320 * 320)
    assert bench.trials[0].stage is Stage.BASELINE


def test_an_image_that_alone_is_too_large_is_one_sentence() -> None:
    with pytest.raises(DeviceError, match="too large to be indexed"):
        _find(1, 2**32)


def test_a_memory_trial_watches_its_tensors_where_it_is_asked_to(shared_bench: LiveBench) -> None:
    config = TrainingConfig.baseline(Circumstances("cpu", tiny.EFFECTIVE_BATCH))
    trial = shared_bench.measure(Order(Stage.MEMORY, config, range(0), watch_tensors=True))
    assert trial.outcome is Outcome.OK, trial
    # The convolution takes one image at a time: 8 channels of half its height and width.
    assert trial.largest_tensor_elements == 8 * 19 * 19
    assert shared_bench.measure(Order(Stage.MEMORY, config, range(0))).largest_tensor_elements is None
