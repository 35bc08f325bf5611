from __future__ import annotations

import random

import pydantic
import pytest
import torch
import yaml

from autotune.config import (
    EXTRA_KNOBS,
    KNOBS,
    Circumstances,
    Knob,
    Precision,
    TrainingConfig,
    asked_knobs,
    asked_settings,
    restricted_values,
)
from autotune.errors import UsageError

CPU = Circumstances("cpu", effective_batch=4)
CPU_BF16 = Circumstances("cpu", effective_batch=4, native_bf16=True)
VOLTA = Circumstances("cuda", effective_batch=16, compute_capability=(7, 0))
HOPPER = Circumstances("cuda", effective_batch=16, compute_capability=(9, 0), native_bf16=True)


def knob(name: str) -> Knob:
    return next(knob for knob in KNOBS if knob.name == name)


def test_every_field_of_the_config_is_a_knob():
    assert [knob.name for knob in KNOBS] == list(TrainingConfig.model_fields)


@pytest.mark.parametrize("where", [CPU, CPU_BF16, VOLTA, HOPPER])
def test_every_candidate_makes_a_config_with_a_label_and_a_caution(where):
    baseline = TrainingConfig.baseline(where)
    for one in KNOBS:
        for value in one.candidates(where):
            config = TrainingConfig(**{**baseline.model_dump(), one.name: value})
            assert config.label()
            assert len(config.caution()) == len(baseline.caution())


@pytest.mark.parametrize(
    ("effective_batch", "sizes"), [(16, (16, 8, 4, 2, 1)), (6, (6, 3, 2, 1)), (7, (7, 1)), (1, (1,))]
)
def test_batch_sizes_are_the_divisors_of_the_effective_batch_largest_first(effective_batch, sizes):
    assert knob("batch_size").candidates(Circumstances("cuda", effective_batch)) == sizes


@pytest.mark.parametrize(
    ("where", "precisions"),
    [
        (CPU, ("fp32",)),
        (CPU_BF16, ("bf16", "fp32")),
        (VOLTA, ("fp16", "default")),
        (HOPPER, ("bf16", "fp16", "tf32", "default", "fp32")),
    ],
)
def test_precisions_are_those_that_the_device_has(where, precisions):
    assert knob("precision").candidates(where) == precisions


@pytest.mark.parametrize("where", [CPU, VOLTA])
def test_a_precision_that_is_left_out_has_a_reason(where):
    assert set(knob("precision").candidates(where)) < set(Precision)
    assert knob("precision").why_left_out(where).startswith("precision: ")


def test_cudnn_means_nothing_on_a_cpu():
    assert knob("cudnn_benchmark").candidates(CPU) == ()
    assert "NVIDIA" in knob("cudnn_benchmark").why_left_out(CPU)
    assert knob("cudnn_benchmark").why_left_out(HOPPER) is None
    assert TrainingConfig.baseline(CPU).cudnn_benchmark is None


@pytest.mark.parametrize(
    ("where", "batch_size", "label"),
    [
        (HOPPER, None, "default, batch 16"),
        (HOPPER, 4, "default, batch 4 x 4"),
        (CPU, None, "fp32, batch 4"),
    ],
)
def test_the_baseline_is_an_untuned_loop(where, batch_size, label):
    config = TrainingConfig.baseline(where, batch_size)
    assert config.label() == label
    assert config.images_per_step == where.effective_batch
    assert config.channels_last is False
    assert not config.cudnn_benchmark


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({}, "defaults, batch 2"),
        ({"precision": "bf16", "channels_last": True}, "bf16 + channels_last, batch 2"),
        (
            {"precision": "fp16", "channels_last": True, "cudnn_benchmark": True, "accumulation_steps": 3},
            "fp16 + channels_last + cudnn.benchmark, batch 2 x 3",
        ),
        (
            {"precision": "fp32", "optimizer_implementation": "fused", "matmul_precision": "high", "compile": True},
            "fp32 + fused optimizer + high matmul precision + compile, batch 2",
        ),
    ],
)
def test_labels(fields, label):
    assert TrainingConfig(batch_size=2, **fields).label() == label


def test_another_batch_size_keeps_the_effective_batch_exactly():
    config = TrainingConfig.baseline(HOPPER).at_batch_size(2, 16)
    assert (config.batch_size, config.accumulation_steps) == (2, 8)
    with pytest.raises(UsageError, match="batch_size 3 does not divide the effective batch 16"):
        config.at_batch_size(3, 16)


def test_caution_puts_numerics_before_everything_else():
    def at(precision: str, **settings: bool) -> TrainingConfig:
        return TrainingConfig(batch_size=2, precision=precision, **{"channels_last": False, **settings})

    ordered = [
        at("fp32"),
        at("fp32", channels_last=True),
        at("default"),
        at("tf32"),
        at("bf16"),
        at("bf16", channels_last=True),
        at("fp16"),
    ]
    shuffled = random.Random(0).sample(ordered, len(ordered))
    assert sorted(shuffled, key=TrainingConfig.caution) == ordered


@pytest.mark.parametrize("field", [{"batch_size": 0}, {"accumulation_steps": 0}, {"precision": "fp8"}, {"speed": 11}])
def test_values_that_make_no_sense_are_refused(field):
    with pytest.raises(pydantic.ValidationError):
        TrainingConfig(**{"batch_size": 2, **field})


def test_yaml_round_trip(tmp_path):
    path = tmp_path / "config.yaml"
    for config in (
        TrainingConfig.baseline(CPU),
        TrainingConfig(batch_size=4, accumulation_steps=4, precision=Precision.BF16, cudnn_benchmark=True),
        TrainingConfig(batch_size=4, compile=True),
        TrainingConfig(batch_size=4, optimizer_implementation="fused", matmul_precision="high"),
    ):
        config.save(path)
        assert TrainingConfig.load(path) == config
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert list(written) == [knob.name for knob in KNOBS if not knob.asked_as or config.uses(knob)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("batch_size: [", "not a readable training config"),
        ("- a\n- b\n", "a training config is a mapping of knobs to values"),
        ("", "a training config is a mapping of knobs to values"),
        ("batch_size: 4\nprecision: fp8\n", r"precision: Input should be .* \(got 'fp8'\)"),
        ("batch_size: many\n", r"batch_size: .* \(got 'many'\)"),
        ("batch_size: 4\nlr: 0.1\n", r"lr: Extra inputs are not permitted \(got 0\.1\)"),
        ("precision: bf16\n", "batch_size: Field required"),
    ],
)
def test_a_bad_config_file_gets_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=rf"mine\.yaml: {sentence}") as error:
        TrainingConfig.load(path)
    assert "pydantic" not in str(error.value)


def test_an_absent_config_file_gets_one_sentence(tmp_path):
    with pytest.raises(UsageError, match=r"/absent\.yaml: does not exist; give a YAML file"):
        TrainingConfig.load(tmp_path / "absent.yaml")
    with pytest.raises(UsageError, match=r": not a readable training config \(Is a directory\); give a YAML file"):
        TrainingConfig.load(tmp_path)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        (None, None),
        ("default", None),
        ("fp32", None),
        ("tf32", None),
        ("bf16", torch.bfloat16),
        ("fp16", torch.float16),
    ],
)
def test_autocast_and_scaler_follow_the_precision(precision, dtype):
    config = TrainingConfig(batch_size=1, precision=precision)
    a = torch.ones(2, 2)
    with config.autocast("cpu"):
        assert (a @ a).dtype == (dtype or torch.float32)
    assert config.grad_scaler("cpu").is_enabled() == (precision == "fp16")


@pytest.fixture
def global_flags():
    """Puts torch's global flags back."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before, products = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark), torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(products)
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", False), ("tf32", True)])
def test_fp32_and_tf32_hold_for_products_and_convolutions_alike(global_flags, precision, tf32):
    TrainingConfig(batch_size=1, precision=precision, cudnn_benchmark=True).apply(torch.nn.Identity())
    # Both of torch's ways to ask answer, and agree.
    assert torch.backends.cuda.matmul.allow_tf32 is tf32
    assert torch.backends.cudnn.allow_tf32 is tf32
    assert (torch.backends.cuda.matmul.fp32_precision == "tf32") is tf32
    assert (torch.backends.cudnn.conv.fp32_precision == "tf32") is tf32
    assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
    assert torch.backends.cudnn.benchmark is True


def test_the_default_precision_touches_nothing(global_flags):
    before = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    model = torch.nn.Identity()
    assert TrainingConfig(batch_size=1, precision="default").apply(model) is model
    assert (torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision) == before


def test_what_only_knobs_asks_for_is_written_where_it_is_used_alone():
    plain = TrainingConfig(batch_size=2)
    assert set(plain.model_dump(mode="json")) == {knob.name for knob in KNOBS if not knob.asked_as}
    assert TrainingConfig.model_validate(plain.model_dump(mode="json")) == plain
    used = TrainingConfig(batch_size=2, compile=True, matmul_precision="medium")
    assert used.model_dump(mode="json").items() >= {"compile": True, "matmul_precision": "medium"}.items()
    assert TrainingConfig.model_validate_json(used.model_dump_json()) == used


@pytest.mark.parametrize("where", [CPU, CPU_BF16, VOLTA, HOPPER])
def test_the_baseline_leaves_the_extra_knobs_alone(where):
    baseline = TrainingConfig.baseline(where)
    assert not any(baseline.uses(knob) for knob in EXTRA_KNOBS.values())
    used = baseline.model_copy(update={"compile": True, "optimizer_implementation": "for_loop"})
    assert used.for_device(where) == used


def test_extra_knobs_are_asked_for_by_their_words():
    assert asked_knobs(["compile", " optimizer", "compile"]) == ("compile", "optimizer")
    assert asked_knobs("compile, optimizer") == ("compile", "optimizer")
    with pytest.raises(UsageError, match="knob 'dropout': not one of optimizer, matmul_precision, compile"):
        asked_knobs(["dropout"])


def test_settings_are_restricted_by_words_or_by_a_mapping():
    words = ["precision=BF16, fp32", "channels_last=False", "precision=bf16"]
    assert asked_settings(words) == ("precision=bf16,fp32", "channels_last=false")
    assert asked_settings("cudnn_benchmark=true") == ("cudnn_benchmark=true",)
    mapping = {"precision": [Precision.BF16, "fp32"], "channels_last": False}
    assert asked_settings(mapping) == ("precision=bf16,fp32", "channels_last=false")
    assert asked_settings({"precision": "fp16"}) == ("precision=fp16",)
    found = restricted_values(asked_settings(mapping))
    assert found == {"precision": (Precision.BF16, Precision.FP32), "channels_last": (False,)}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["batch_size=4"], "only 'batch_size': not one of precision, channels_last, cudnn_benchmark"),
        (["precision=int8"], "only precision=int8: not one of default, fp32, tf32, fp16, bf16"),
        (["channels_last"], "only channels_last: give a value with it, as channels_last=true"),
        ({"channels_last": None}, "only channels_last=None: not one of true, false"),
        ({"precision": []}, "only precision: give one value at least"),
        (5, r"only 5: give a mapping of settings to values, as \{'precision': \['fp32', 'bf16'\]\}"),
    ],
)
def test_a_setting_or_value_that_there_is_not_is_told(words, sentence):
    with pytest.raises(UsageError, match=f"^{sentence}$"):
        asked_settings(words)


@pytest.mark.parametrize(
    ("precision", "values"), [("fp32", ["high"]), ("default", []), ("tf32", []), ("bf16", []), ("fp16", [])]
)
def test_products_in_tf32_are_tried_only_where_no_precision_means_the_same(precision, values):
    config = TrainingConfig(batch_size=2, precision=precision)
    matmul = EXTRA_KNOBS["matmul_precision"]
    assert [value for value in matmul.candidates(HOPPER) if not matmul.idle_beside(value, config)] == values
    assert matmul.candidates(CPU) == ()
    assert matmul.candidates(VOLTA) == ()
    assert matmul.why_left_out(CPU)
    assert matmul.why_left_out(VOLTA)


def test_reduced_products_are_no_safer_than_the_precision_that_is_like_them():
    def at(precision: str, matmul: str) -> int:
        return TrainingConfig(batch_size=2, precision=precision, matmul_precision=matmul).caution()[0]

    assert at("fp32", "highest") == at("fp32", "default") < at("fp32", "high") == at("tf32", "default")
    assert at("fp32", "medium") == at("bf16", "default") == at("bf16", "high")


@pytest.mark.parametrize(
    ("implementation", "foreach", "fused"),
    [("default", None, None), ("for_loop", False, False), ("foreach", True, None), ("fused", None, True)],
)
@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_torch_takes_the_optimizers_implementation(implementation, foreach, fused, optimizer):
    weight = torch.nn.Parameter(torch.ones(3))
    arguments = TrainingConfig(batch_size=1, optimizer_implementation=implementation).optimizer_arguments()
    (group,) = optimizer([weight], lr=0.1, **arguments).param_groups
    assert (group["foreach"], group["fused"]) == (foreach, fused)


def test_the_precision_of_products_reaches_torch_beside_a_precision(global_flags):
    TrainingConfig(batch_size=1, precision="fp32", matmul_precision="high").apply(torch.nn.Identity())
    assert torch.get_float32_matmul_precision() == "high"
    assert torch.backends.cuda.matmul.allow_tf32 is True
    assert torch.backends.cudnn.allow_tf32 is False


def test_compile_compiles_the_model_in_place():
    model = torch.nn.Linear(2, 2)
    assert TrainingConfig(batch_size=1, compile=True).apply(model) is model
    assert model._compiled_call_impl is not None
    assert list(model.state_dict()) == ["weight", "bias"]
