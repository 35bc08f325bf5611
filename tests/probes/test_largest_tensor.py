from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from autotune.probes.largest_tensor import with_largest_tensor


class Gives(nn.Module):
    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output

    def forward(self) -> object:
        return self.output


@pytest.mark.parametrize(
    ("output", "elements"),
    [
        (torch.zeros(2, 3), 6),
        ([torch.zeros(2), (torch.zeros(7), None)], 7),
        ({"0": torch.zeros(4), "pool": torch.zeros(9)}, 9),
        (SimpleNamespace(tensors=torch.zeros(2, 3, 5), image_sizes=[]), 30),
        ("no tensor", 0),
    ],
)
def test_whatever_form_an_output_has_its_largest_tensor_is_found(output: object, elements: int) -> None:
    assert with_largest_tensor(Gives(output)) == (output, elements)


def test_inner_layers_count_and_the_hook_is_gone_afterwards() -> None:
    model = nn.Sequential(nn.Linear(2, 50), nn.Linear(50, 1))
    batch = torch.zeros(4, 2)
    assert with_largest_tensor(lambda: model(batch).shape) == ((4, 1), 200)
    with pytest.raises(ZeroDivisionError):
        with_largest_tensor(lambda: model(batch) / (1 // 0))
    assert not nn.modules.module._global_forward_hooks
