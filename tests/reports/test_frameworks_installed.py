"""The examples run in the frameworks that they are for; `pip install '.[frameworks]'` brings these."""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess
import sys
import textwrap

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import watched
from autotune.config import Precision, TrainingConfig
from autotune.reports.frameworks import examples
from watched import CountingSGD

# The frameworks' own warnings are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

BATCHES = 4
CONFIGS = [
    TrainingConfig(batch_size=2, accumulation_steps=steps, precision=precision, channels_last=nhwc)
    for steps, precision, nhwc in itertools.product((1, 2), (Precision.FP32, Precision.BF16), (False, True))
]


class Detector(watched.Detector):
    """Its targets must reach it as they were collated."""

    def forward(self, images, targets):
        assert all(target["boxes"].shape == (1, 4) for target in targets)
        return super().forward(images, targets)


def collate(items):
    return tuple(zip(*items, strict=True))


def parts(config: TrainingConfig) -> dict:
    """What an example expects to find, by the names that it uses."""
    draw = torch.Generator().manual_seed(0)
    images = [torch.rand(3, 8, 8, generator=draw) for _ in range(BATCHES * config.batch_size)]
    model = Detector()
    return {
        "model": model,
        "optimizer": CountingSGD(model.parameters(), lr=0.1),
        "loader": DataLoader(
            [(image, {"boxes": torch.tensor([[0.0, 0.0, 4.0, 4.0]])}) for image in images],
            batch_size=config.batch_size,
            collate_fn=collate,
        ),
    }


def code(config: TrainingConfig, name: str) -> str:
    return {each.name: each.code for each in examples(config, "cpu")}[name]


def run(config: TrainingConfig, name: str) -> dict:
    names = parts(config)
    exec(compile(code(config, name), name, "exec"), names)
    return names


def check(config: TrainingConfig, model: Detector, optimizer: CountingSGD) -> None:
    """The model was trained as the config says, and to the weights to which plain PyTorch trains it."""
    dtype = torch.bfloat16 if config.precision is Precision.BF16 else torch.float32
    assert model.seen == [(config.channels_last, dtype)] * BATCHES
    assert optimizer.steps == BATCHES // config.accumulation_steps
    torch.testing.assert_close(model.backbone.weight, run(config, "plain PyTorch")["model"].backbone.weight)


@pytest.mark.parametrize("config", CONFIGS, ids=TrainingConfig.label)
def test_lightning_trains_what_plain_pytorch_trains(config, monkeypatch, tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")
    monkeypatch.chdir(tmp_path)  # where it logs
    names = run(config, "Lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.detector = names["model"]

        def training_step(self, batch):
            return sum(self.detector(*batch).values())

        def configure_optimizers(self):
            return names["optimizer"]

    names["trainer"].fit_loop.max_epochs = 1
    names["trainer"].fit(Module(), names["loader"])
    check(config, names["model"], names["optimizer"])


@pytest.mark.parametrize("config", CONFIGS, ids=TrainingConfig.label)
def test_accelerate_trains_what_plain_pytorch_trains(config, monkeypatch):
    state = pytest.importorskip("accelerate.state")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    state.AcceleratorState._reset_state(reset_partial_state=True)  # a process has one precision
    names = run(config, "Accelerate")
    state.AcceleratorState._reset_state(reset_partial_state=True)
    check(config, names["model"], names["optimizer"].optimizer)


def test_every_ultralytics_argument_is_one_of_its_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    configuration = pytest.importorskip("ultralytics.cfg")
    config = CONFIGS[-1].model_copy(update={"cudnn_benchmark": True, "compile": True})
    for device_type, precision in itertools.product(("cpu", "cuda"), Precision):
        each = {e.name: e.code for e in examples(config.model_copy(update={"precision": precision}), device_type)}
        words = [word for word in shlex.split(each["Ultralytics"], comments=True) if "OVERRIDE" not in word]
        assert words[:3] == ["yolo", "detect", "train"]
        given = dict(configuration.parse_key_value_pair(word) for word in words[3:])
        assert given.keys() <= configuration.DEFAULT_CFG_DICT.keys()


ULTRALYTICS_SCRIPT = """
import json, sys, torch
from ultralytics import YOLO
from ultralytics.cfg import parse_key_value_pair

seen = []

def watch(trainer):
    first = next(part for part in trainer.model.modules() if isinstance(part, torch.nn.Conv2d))
    first.register_forward_hook(lambda module, given, made: seen.append(
        [made.is_contiguous(memory_format=torch.channels_last), str(made.dtype)]))
    step = trainer.optimizer_step
    trainer.optimizer_step = lambda: (seen.append("update"), step())

model = YOLO("yolo11n.yaml")
{callbacks}
model.add_callback("on_train_start", watch)
arguments = dict(parse_key_value_pair(word) for word in sys.argv[1:])
model.train(**arguments, epochs=1, imgsz=32, workers=0, plots=False, val=False, verbose=False, warmup_epochs=0)
print("\\n" + json.dumps(seen))
"""


@pytest.mark.parametrize("config", [CONFIGS[0], CONFIGS[-1]], ids=TrainingConfig.label)
def test_ultralytics_trains_as_the_config_says(config, tmp_path):
    pytest.importorskip("ultralytics")
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number in range(BATCHES * config.batch_size):
        Image.new("RGB", (32, 32), (number, 2 * number, 3 * number)).save(tmp_path / f"images/{number}.jpg")
        (tmp_path / f"labels/{number}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (tmp_path / "data.yaml").write_text(f"path: {tmp_path}\ntrain: images\nval: images\nnames: {{0: thing}}\n")
    example = code(config, "Ultralytics")
    callbacks = textwrap.dedent("\n".join(line[1:] for line in example.splitlines() if "add_callback" in line))
    words = [word for word in shlex.split(example, comments=True)[3:] if not word.startswith(("model=", "data="))]
    words += [f"data={tmp_path / 'data.yaml'}", f"project={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-c", ULTRALYTICS_SCRIPT.format(callbacks=callbacks), *words],
        env={"YOLO_CONFIG_DIR": str(tmp_path), "YOLO_AUTOINSTALL": "False", "YOLO_OFFLINE": "True"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    dtype = "torch.bfloat16" if config.precision is Precision.BF16 else "torch.float32"
    batch = [config.channels_last, dtype]
    per_update = [*[batch] * config.accumulation_steps, "update"]
    assert seen == per_update * (BATCHES // config.accumulation_steps)
