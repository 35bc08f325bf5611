from __future__ import annotations

import itertools
import shlex
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
import yaml
from torch import nn

from autotune.config import MatmulPrecision, OptimizerImplementation, Precision, TrainingConfig
from autotune.reports.frameworks import examples

CONFIGS = [
    TrainingConfig(
        batch_size=2, accumulation_steps=steps, precision=precision, channels_last=nhwc, cudnn_benchmark=benchmark
    )
    for steps, precision, nhwc, benchmark in itertools.product((1, 4), Precision, (True, False), (True, False, None))
]

CONFIGS += [
    TrainingConfig(batch_size=2, optimizer_implementation=implementation, matmul_precision=products, compile=compiled)
    for implementation, products, compiled in itertools.product(OptimizerImplementation, MatmulPrecision, (True, False))
]


def code(config: TrainingConfig, name: str, device_type: str = "cuda") -> str:
    return {each.name: each.code for each in examples(config, device_type)}[name]


@pytest.mark.parametrize("config", CONFIGS, ids=TrainingConfig.label)
@pytest.mark.parametrize("device_type", ["cuda", "cpu"])
def test_every_config_can_be_said_in_every_framework(config, device_type):
    for each in examples(config, device_type):
        assert not each.code.endswith("\n")
        if each.name in ("plain PyTorch", "Lightning", "Accelerate"):
            compile(each.code, each.name, "exec")
    assert yaml.safe_load(code(config, "config.yaml")) == config.model_dump(mode="json")


@pytest.fixture
def called(monkeypatch):
    """Runs a snippet in which the framework is a stand-in, and returns what it was called with."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [
        (module, name, getattr(module, name))
        for module, name in ((cudnn, "benchmark"), (cudnn, "allow_tf32"), (matmul, "allow_tf32"))
    ]

    def run(source: str, module: str, name: str) -> dict:
        calls: dict = {}

        def stand_in(**arguments):
            calls.update(arguments)
            return SimpleNamespace(prepare=lambda *things: things)

        for part in itertools.accumulate(module.split("."), "{}.{}".format):
            monkeypatch.setitem(sys.modules, part, ModuleType(part))
        setattr(sys.modules[module], name, stand_in)
        model = nn.Sequential(nn.Conv2d(3, 4, 3))
        exec(compile(source, "snippet", "exec"), {"model": model, "optimizer": None, "loader": []})
        calls["nhwc"] = model[0].weight.is_contiguous(memory_format=torch.channels_last)
        return calls

    yield run
    for module, name, value in before:
        setattr(module, name, value)


def test_lightnings_trainer_is_set_as_the_config_says(called):
    config = TrainingConfig(
        batch_size=4, accumulation_steps=4, precision=Precision.BF16, channels_last=True, cudnn_benchmark=True
    )
    arguments = called(code(config, "Lightning"), "lightning.pytorch", "Trainer")
    assert arguments == {
        "accelerator": "gpu",
        "devices": 1,
        "precision": "bf16-mixed",
        "accumulate_grad_batches": 4,
        "benchmark": True,
        "nhwc": True,
    }


def test_accelerate_is_set_as_the_config_says(called):
    config = TrainingConfig(batch_size=4, accumulation_steps=2, precision=Precision.FP16, cudnn_benchmark=False)
    arguments = called(code(config, "Accelerate"), "accelerate", "Accelerator")
    assert arguments["mixed_precision"] == "fp16"
    assert arguments["gradient_accumulation_steps"] == 2


def test_tf32_is_set_for_both_kinds_of_arithmetic(called):
    called(code(TrainingConfig(batch_size=4, precision=Precision.TF32), "Lightning"), "lightning.pytorch", "Trainer")
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32


def command(config: TrainingConfig, name: str, device_type: str = "cuda") -> list[str]:
    return shlex.split(code(config, name, device_type), comments=True)


@pytest.mark.parametrize("config", CONFIGS, ids=TrainingConfig.label)
@pytest.mark.parametrize("device_type", ["cuda", "cpu"])
def test_commands_hold_documented_arguments_alone(config, device_type):
    """references/detection/train.py's parser, and Ultralytics' train settings."""
    flags = {word for word in command(config, "torchvision references", device_type) if word.startswith("-")}
    assert flags <= {"--device", "--batch-size", "--amp"}
    words = command(config, "Ultralytics", device_type)
    words = words[words.index("yolo") + 3 :]
    documented = {"model", "data", "device", "batch", "nbs", "amp", "deterministic", "channels_last", "compile"}
    assert {word.partition("=")[0] for word in words} <= documented


@pytest.mark.parametrize("name", ["torchvision references", "Ultralytics"])
def test_tf32_is_set_for_a_command_by_its_environment(name):
    variables = {
        Precision.FP32: "NVIDIA_TF32_OVERRIDE=0",
        Precision.TF32: "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1",
    }
    for precision in Precision:
        first = command(TrainingConfig(batch_size=4, precision=precision), name)[0]
        assert first == variables.get(precision, {"torchvision references": "python", "Ultralytics": "yolo"}[name])


def test_torchvisions_autocast_is_replaced_for_bf16_since_without_amp_it_is_off():
    text = code(TrainingConfig(batch_size=4, precision=Precision.BF16), "torchvision references")
    assert 'torch.autocast("cuda", dtype=torch.bfloat16) in place of' in text


def test_ultralytics_has_words_for_bf16_and_the_memory_format_on_a_gpu():
    config = TrainingConfig(batch_size=4, precision=Precision.BF16, channels_last=False)
    assert {"amp=bf16", "channels_last=False"} <= set(command(config, "Ultralytics"))
    assert {"amp=False"} <= set(command(config, "Ultralytics", "cpu"))
    assert "channels_last" not in code(config, "Ultralytics", "cpu")


def test_ultralytics_is_not_left_at_its_deterministic_algorithms():
    for device_type in ("cuda", "cpu"):
        assert "deterministic=False" in command(TrainingConfig(batch_size=4), "Ultralytics", device_type)


def test_ultralytics_nominal_batch_is_the_effective_batch():
    config = TrainingConfig(batch_size=4, accumulation_steps=4, precision=Precision.FP16)
    words = shlex.split(code(config, "Ultralytics"), comments=True)
    assert {"batch=4", "nbs=16", "amp=True"} <= set(words)


def test_torchvisions_amp_flag_stands_for_fp16_alone():
    for precision in Precision:
        flags = shlex.split(code(TrainingConfig(batch_size=4, precision=precision), "torchvision references"), True)
        assert ("--amp" in flags) == (precision is Precision.FP16)
        assert flags[flags.index("--batch-size") + 1] == "4"


@pytest.mark.parametrize("framework", ["torchvision references", "Ultralytics"])
def test_what_a_framework_has_no_word_for_is_said(framework):
    config = TrainingConfig(
        batch_size=4, accumulation_steps=4, precision=Precision.BF16, channels_last=True, cudnn_benchmark=True
    )
    comments = " ".join(line for line in code(config, framework).splitlines() if line.startswith("#"))
    for word in ("bf16", "channels_last", "cuDNN"):
        assert word in comments


@pytest.mark.parametrize("name", [each.name for each in examples(CONFIGS[0], "cuda")])
def test_every_framework_says_the_knobs_that_only_knobs_asks_for(name):
    plain = TrainingConfig(batch_size=2, precision="fp32")
    used = TrainingConfig(
        batch_size=2, precision="fp32", optimizer_implementation="fused", matmul_precision="high", compile=True
    )
    more = set(code(used, name).splitlines()) - set(code(plain, name).splitlines())
    text = "\n".join(more)
    assert len(more) == 3
    assert "compile" in text
    assert "fused" in text
    assert "high" in text
