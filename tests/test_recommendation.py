"""recommend() in a training script: what it returns, what it leaves alone, and its cache."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from pathlib import Path

import numpy
import pandas
import pytest
import torch
from torch import nn

import autotune
import tiny
from autotune import cache
from autotune.config import TrainingConfig
from autotune.records import load_run

pytestmark = pytest.mark.usefixtures("short_run")

LABELS = {"labels": torch.tensor([1])}


class Photos(torch.utils.data.Dataset[object]):
    """A user's dataset: augments, so it draws from every random generator there is."""

    def __init__(self, count: int = 12) -> None:
        self.items = tiny.items(count)
        self.read = 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> object:
        self.read += 1
        image, target = self.items[index]
        image = image * (0.5 + 0.5 * torch.rand(1)) + 0.01 * random.random() + 0.01 * float(numpy.random.rand())
        return image, target


def _recommend(model: object, **options: object) -> autotune.Recommendation:
    arguments = {"dataset": Photos(), "effective_batch_size": 2, "budget": "2m", "device": "cpu"}
    return autotune.recommend(model, **{**arguments, **options})  # type: ignore[arg-type]


def _flags() -> dict[str, object]:
    return {
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "matmul": torch.backends.cuda.matmul.fp32_precision,
        "cudnn": torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "denormal": bool(torch.tensor(1e-310, dtype=torch.float64) * 1.0 > 0),
    }


def test_the_callers_model_gradients_random_state_and_flags_stay_bit_for_bit() -> None:
    model = tiny.Sleeper()
    model.conv.weight.grad = torch.rand_like(model.conv.weight)
    model.eval()
    torch.manual_seed(7)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradient = model.conv.weight.grad.clone()
    before = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state(), _flags()
    hooks = len(model._forward_hooks), len(model.conv._forward_pre_hooks)
    found = _recommend(model)
    assert found.config.images_per_step == 2
    assert random.getstate() == before[0]
    assert numpy.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert _flags() == before[3]
    assert (len(model._forward_hooks), len(model.conv._forward_pre_hooks)) == hooks
    assert not model.training
    assert model.conv.weight.is_contiguous()
    assert model.conv.bias is not None
    assert model.conv.bias.grad is None
    assert torch.equal(model.conv.weight.grad, gradient)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_a_second_call_answers_from_the_cache_without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    model, photos = tiny.Sleeper(), Photos()
    first = _recommend(model, dataset=photos)
    assert not first.from_cache

    def no_measuring(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    read = photos.read
    with monkeypatch.context() as patched:
        patched.setattr("autotune.recommendation.run", no_measuring)
        second = _recommend(model, dataset=photos)
        assert second.from_cache
        assert second.record == first.record
        assert photos.read == read, "the answer came without reading an image"
        # Another model, other data, another batch: each is measured.
        for other in ({"model": tiny.Tiny()}, {"dataset": Photos(7)}, {"effective_batch_size": 3}):
            with pytest.raises(AssertionError, match="measured again"):
                _recommend(other.pop("model", model), **{"dataset": photos, **other})
        for changed in ({"refresh": True}, {"budget": "1h"}):
            with pytest.raises(AssertionError, match="measured again"):
                _recommend(model, dataset=photos, **changed)


def test_a_cache_that_cannot_be_read_or_written_costs_no_answer(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = _recommend(tiny.Tiny())
    (kept,) = own_cache.glob("*.json")
    kept.write_text(kept.read_text()[:100])
    assert not _recommend(tiny.Tiny()).from_cache
    assert "measuring again" in caplog.text
    monkeypatch.setenv("AUTOTUNE_CACHE", "/proc/nowhere")
    cache.save("key", found.record)
    assert "cannot be written" in caplog.text


def test_a_recommendation_is_applied_tabulated_and_saved(tmp_path: Path) -> None:
    found = _recommend(tiny.sleeper)
    assert found.config.channels_last, "a step sleeps far less in channels_last"
    assert "faster than your baseline" in repr(found)
    table = found.table()
    assert isinstance(table, pandas.DataFrame)
    assert len(table) >= 2
    model = tiny.Sleeper()
    assert found.apply(model) is model
    assert not model.conv.weight.is_contiguous()
    with found.autocast():
        loss = model(*zip(*tiny.items(2), strict=True))["loss"]
    scaler = found.grad_scaler()
    scaler.scale(loss).backward()
    assert not scaler.is_enabled()
    found.save(tmp_path / "run")
    assert load_run(tmp_path / "run") == found.record
    with pytest.raises(autotune.RunDirectoryError, match="holds a run already; save under another path"):
        found.save(tmp_path / "run")
    found.save(tmp_path / "mine.yaml")
    assert TrainingConfig.load(tmp_path / "mine.yaml") == found.config
    found.save(tmp_path / "mine.json")
    assert load_run(tmp_path / "mine.json") == found.record


def test_a_model_of_the_callers_own_script_is_measured() -> None:
    # A class that no other process can import by name.
    def build() -> nn.Module:
        class Local(tiny.Tiny):
            pass

        return Local()

    assert _recommend(build()).config.images_per_step == 2
    assert _recommend(build, effective_batch_size=4).config.images_per_step == 4


def _unpicklable() -> nn.Module:
    model = tiny.Tiny()
    model.stream = (index for index in range(3))  # type: ignore[assignment]
    return model


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("frcnn_mobilnet", {}, "did you mean frcnn_mobilenet"),
        (7, {}, "model must be a name"),
        (_unpicklable(), {}, "pass a function that builds it"),
        (tiny.not_a_module, {}, "not_a_module"),
        (tiny.Tiny(), {"dataset": []}, "is empty"),
        (tiny.Tiny(), {"dataset": iter(())}, "has no length"),
        (tiny.Tiny(), {"dataset": [1, 2]}, "not a pair"),
        (
            tiny.Tiny(),
            {"dataset": [(torch.rand(3, 8, 8), {**LABELS, "boxes": torch.rand(1, 3)})]},
            "boxes",
        ),
        (tiny.Tiny(), {"budget": "soon"}, "soon"),
        (tiny.Tiny(), {"effective_batch_size": 0}, "at least 1"),
        (tiny.Tiny(), {"effective_batch_size": "4"}, "effective_batch_size '4': must be a whole number"),
        (tiny.Tiny(), {"device": "tpu"}, "device 'tpu': not one of cpu, cuda, cuda:N"),
        (tiny.Tiny(), {"optimizer": "lion"}, "adamw"),
        (tiny.Tiny(), {"objective": "size"}, "not one of throughput, memory, energy"),
    ],
)
def test_a_mistake_is_an_error_with_a_sentence(model: object, options: dict[str, object], words: str) -> None:
    with pytest.raises(autotune.AutotuneError, match=words):
        _recommend(model, **options)


def test_the_public_names_are_there_and_load_no_torch() -> None:
    for name in autotune.__all__:
        assert getattr(autotune, name) is not None
    assert set(autotune.__all__) <= set(dir(autotune))
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        autotune.absent  # noqa: B018


def test_a_run_without_a_verdict_is_not_kept(own_cache: Path) -> None:
    found = _recommend(tiny.sleeper, budget="0.1s")
    assert found.verdict.ratio is None
    assert not list(own_cache.glob("*.json"))


def _builder(width: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        return nn.Conv2d(width, width, 1)

    return build


def test_the_key_tells_models_apart_and_is_the_same_in_every_call() -> None:
    models = [
        "frcnn_mobilenet",
        "tiny:plain",
        tiny.plain,
        tiny.sleeper,
        _builder(1),
        _builder(2),
        functools.partial(nn.Conv2d, 1, 2, 3),
        functools.partial(nn.Conv2d, 1, 2, 4),
        nn.Conv2d(1, 2, 3),
        nn.Conv2d(1, 2, 3, stride=2),
    ]
    keys = [cache.key(model, Photos(), "cpu", (2,)) for model in models]
    assert None not in keys
    assert len(set(keys)) == len(models)
    assert keys == [cache.key(model, Photos(), "cpu", (2,)) for model in models]
    assert cache.key(_builder(1), Photos(), "cpu", (2,)) == keys[4], "another closure with the same contents"


def test_a_dataset_is_read_for_its_key_once() -> None:
    photos = Photos()
    for _ in range(3):
        cache.key("frcnn_mobilenet", photos, "cpu", ())
    assert photos.read == 3


def test_a_baseline_that_is_no_training_config_is_told() -> None:
    with pytest.raises(autotune.UsageError, match=r"baseline \{\}: not a TrainingConfig"):
        _recommend(tiny.Sleeper(), baseline={})  # type: ignore[arg-type]


def test_knobs_that_are_asked_for_are_measured_and_have_an_answer_of_their_own() -> None:
    model, photos = tiny.Sleeper(), Photos()
    plain = _recommend(model, dataset=photos, budget="20s")
    asked = _recommend(model, dataset=photos, budget="20s", knobs=("optimizer",))
    assert not asked.from_cache
    assert (plain.record.knobs, asked.record.knobs) == ((), ("optimizer",))
    assert asked.optimizer_arguments() == asked.config.optimizer_arguments()
    torch.optim.AdamW(model.parameters(), **asked.optimizer_arguments())
    with pytest.raises(autotune.UsageError, match="knob 'warp'"):
        _recommend(model, dataset=photos, knobs=("warp",))


def test_another_objective_has_an_answer_of_its_own() -> None:
    model, photos = tiny.Sleeper(), Photos()
    plain = _recommend(model, dataset=photos, budget="20s")
    asked = _recommend(model, dataset=photos, budget="20s", objective="memory")
    assert not asked.from_cache
    assert (plain.record.objective, asked.record.objective) == ("throughput", "memory")
