"""Steps recorded for real on the CPU: whose the time and the FLOPs are, in every case that detectors bring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from autotune.probes.analysis import profile_of_trace
from autotune.probes.recording import record
from autotune.profile_record import Layer, Phase, Profile
from autotune.ranges import BACKWARD, INPUTS, LOSS, UPDATE, layer_range, opened

CPU = torch.device("cpu")
SIDE = 16
# FLOPs of one 3x3 convolution of 4 to 4 channels with padding on a 4-channel map of SIDE x SIDE, batch 2.
CONVOLUTION = 2 * 2 * 4 * 4 * 9 * SIDE * SIDE


def _recorded(
    model: nn.Module, tmp_path: Path, loss_of: Callable[[Tensor], Tensor] = lambda out: out.square().mean()
) -> Profile:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6)

    def step(number: int) -> None:
        with layer_range(INPUTS):
            images = torch.rand(2, 4, SIDE, SIDE).clone()
        out = model(images)
        with layer_range(LOSS):
            loss = loss_of(out)
        with opened(BACKWARD):
            loss.backward()
        with opened(UPDATE):
            optimizer.step()
            optimizer.zero_grad()

    step(0)
    path = tmp_path / "trace.json.gz"
    record(step, [0, 1], model, CPU, path, {"model": "tiny"})
    return profile_of_trace(path)


def _row(profile: Profile, layer: str, phase: Phase) -> Layer | None:
    return next((row for row in profile.layers if (row.layer, row.phase) == (layer, phase)), None)


def _flops(profile: Profile, layer: str, phase: Phase) -> float:
    row = _row(profile, layer, phase)
    assert row is not None, (layer, phase, [(each.layer, each.phase) for each in profile.layers])
    return row.flops


def _convolution(**options: object) -> nn.Conv2d:
    return nn.Conv2d(4, 4, 3, padding=1, bias=False, **options)  # type: ignore[arg-type]


class Twice(nn.Module):
    """A module used twice, as FPN heads are."""

    def __init__(self) -> None:
        super().__init__()
        self.first = _convolution()
        self.head = _convolution()

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images)
        return self.head(features) + self.head(features.flip(-1))


def test_a_module_used_twice_has_one_row_with_both_uses(tmp_path: Path) -> None:
    profile = _recorded(Twice(), tmp_path)
    assert _flops(profile, "head", Phase.FORWARD) == 2 * CONVOLUTION
    assert _flops(profile, "head", Phase.BACKWARD) == pytest.approx(2 * 2 * CONVOLUTION, rel=0.01)
    # The first layer of all gets no gradient for its input.
    assert _flops(profile, "first", Phase.BACKWARD) == pytest.approx(CONVOLUTION, rel=0.01)


def test_frozen_layers_have_no_backward_of_their_own(tmp_path: Path) -> None:
    model = nn.Sequential(_convolution(), _convolution(), _convolution())
    model[0].requires_grad_(False)
    profile = _recorded(model, tmp_path)
    assert _flops(profile, "0", Phase.FORWARD) == CONVOLUTION
    assert _row(profile, "0", Phase.BACKWARD) is None
    assert _flops(profile, "1", Phase.BACKWARD) == CONVOLUTION  # grad-weight alone
    assert _flops(profile, "2", Phase.BACKWARD) == 2 * CONVOLUTION


def test_a_frozen_layer_in_the_middle_passes_the_gradient_on(tmp_path: Path) -> None:
    model = nn.Sequential(_convolution(), _convolution())
    model[1].requires_grad_(False)
    profile = _recorded(model, tmp_path)
    assert _flops(profile, "1", Phase.BACKWARD) == CONVOLUTION  # grad-input alone


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = _convolution()
        self.activation = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.activation(self.convolution(images))
        return (features * 2.0).add_(1.0)


def test_operators_in_place_belong_to_who_calls_them(tmp_path: Path) -> None:
    profile = _recorded(InPlace(), tmp_path)
    activation = _row(profile, "activation", Phase.BACKWARD)
    assert activation is not None
    assert activation.bytes > 0
    own = _row(profile, "(model)", Phase.FORWARD)
    assert own is not None
    assert own.module == "InPlace"


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.stem = _convolution()
        self.block = nn.Sequential(_convolution(), nn.Hardswish(), _convolution())
        self.reentrant = reentrant

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = checkpoint(self.block, self.stem(images), use_reentrant=self.reentrant)
        return out


@pytest.mark.parametrize(
    ("module", "passes"),
    [
        (nn.Hardswish(inplace=True), 4),  # the input that it overwrites is kept for its gradient: a copy
        (nn.SiLU(inplace=True), 4),
        (nn.ReLU(inplace=True), 2),  # needs its output alone
        (nn.Hardswish(), 2),
    ],
)
def test_an_activation_in_place_moves_what_it_keeps_for_the_backward_pass_too(
    tmp_path: Path, module: nn.Module, passes: int
) -> None:
    row = _row(_recorded(nn.Sequential(_convolution(), module), tmp_path), "1", Phase.FORWARD)
    assert row is not None
    assert row.bytes == passes * 4 * 2 * 4 * SIDE * SIDE
    assert row.modelled > 0.5


@pytest.mark.parametrize("reentrant", [True, False])
def test_what_a_checkpoint_runs_again_is_the_layers_backward(tmp_path: Path, reentrant: bool) -> None:
    profile = _recorded(Checkpointed(reentrant=reentrant), tmp_path)
    assert _flops(profile, "block.0", Phase.FORWARD) == CONVOLUTION
    # Once more forward, then both gradients. Without reentry the recomputation stops once all that was saved is there.
    assert _flops(profile, "block.0", Phase.BACKWARD) == 3 * CONVOLUTION
    assert profile.coverage > 0.99


def test_losses_outside_modules_have_a_row_and_so_has_the_update(tmp_path: Path) -> None:
    profile = _recorded(nn.Sequential(_convolution()), tmp_path)
    for layer, phase in (
        ("(inputs)", Phase.FORWARD),
        ("(loss)", Phase.FORWARD),
        ("(loss)", Phase.BACKWARD),
        ("(optimizer)", Phase.OPTIMIZER),
    ):
        assert _row(profile, layer, phase), (layer, phase)


def test_the_rows_sum_to_the_busy_time_and_nothing_is_left_over(tmp_path: Path) -> None:
    profile = _recorded(Twice(), tmp_path)
    assert sum(layer.time_ms for layer in profile.layers) == pytest.approx(profile.busy_ms, rel=1e-12)
    assert profile.coverage == 1.0
    assert profile.busy_ms + profile.idle_ms == pytest.approx(sum(profile.profiled_step_ms) / 2, rel=1e-12)
    assert sum(total.time_ms for total in profile.classes) == pytest.approx(profile.busy_ms + profile.idle_ms)


def test_hooks_are_gone_after_a_recording_and_after_one_that_failed(tmp_path: Path) -> None:
    model = Twice()
    _recorded(model, tmp_path)

    def fail(number: int) -> None:
        model(torch.rand(2, 3, SIDE, SIDE))

    with pytest.raises(RuntimeError, match="channels"):
        record(fail, [0], model, CPU, tmp_path / "failed.json", {})
    assert not (tmp_path / "failed.json").exists()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class Raises(nn.Module):
    """Catches what one of its layers raises, and goes on: the range must not stay open."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong = nn.Conv2d(3, 4, 1)
        self.right = _convolution()

    def forward(self, images: Tensor) -> Tensor:
        try:
            out: Tensor = self.wrong(images)
        except RuntimeError:
            out = self.right(images)
        return out + 1.0


def test_a_layer_that_raised_does_not_swallow_what_follows(tmp_path: Path) -> None:
    model = Raises()
    model.wrong.requires_grad_(False)
    profile = _recorded(model, tmp_path)
    assert _flops(profile, "right", Phase.FORWARD) == CONVOLUTION
    assert _flops(profile, "(model)", Phase.FORWARD) > 0
