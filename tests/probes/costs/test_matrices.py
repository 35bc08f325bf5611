"""Matrix products and attention, against PyTorch's own counter and by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from autotune.probes.costs import Arithmetic, Call, Tensor, cost_of


def half(*dims: int) -> Tensor:
    return Tensor(dims, "c10::Half")


PRODUCTS = [
    ("aten::mm", (half(5, 7), half(7, 3)), 2 * 5 * 7 * 3, 35 + 21 + 15),
    ("aten::addmm", (half(3), half(5, 7), half(7, 3), "1", "1"), 2 * 5 * 7 * 3 + 15, 3 + 35 + 21 + 15),
    ("aten::bmm", (half(4, 5, 7), half(4, 7, 3)), 4 * 2 * 5 * 7 * 3, 4 * (35 + 21 + 15)),
    ("aten::baddbmm", (half(4, 5, 3), half(4, 5, 7), half(4, 7, 3)), 4 * (210 + 15), 4 * (15 + 35 + 21 + 15)),
    ("aten::addmv", (half(5), half(5, 7), half(7)), 2 * 5 * 7 + 5, 5 + 35 + 7 + 5),
    ("aten::dot", (half(7), half(7)), 2 * 7, 7 + 7 + 1),
    ("aten::mkldnn_linear", (half(2, 5, 7), half(3, 7), half(3)), 2 * 2 * 5 * 7 * 3 + 30, 70 + 21 + 3 + 30),
]


@pytest.mark.parametrize(("name", "arguments", "flops", "elements"), PRODUCTS)
def test_a_product_costs_two_for_each_pair(name, arguments, flops, elements):
    cost = cost_of(Call(name, arguments))
    assert cost is not None
    assert (cost.flops, cost.bytes) == (flops, 2 * elements)
    assert (cost.arithmetic, cost.dtype) == (Arithmetic.MATRIX, "c10::Half")


def test_shapes_that_do_not_fit_are_not_modelled():
    assert cost_of(Call("aten::mm", (half(5, 7), half(6, 3)))) is None


@pytest.mark.parametrize(
    "product",
    [
        lambda a, b: a @ b,
        lambda a, b: torch.addmm(torch.zeros(6), a, b),
        lambda a, b: torch.einsum("mk,kn->mn", a, b),
        lambda a, b: torch.bmm(a.expand(3, -1, -1), b.expand(3, -1, -1)),
        lambda a, b: F.linear(a.view(2, 2, 8), b.t().contiguous()),
    ],
)
def test_products_agree_with_pytorchs_counter(price, product):
    a, b = torch.randn(4, 8, requires_grad=True), torch.randn(8, 6, requires_grad=True)

    def step() -> None:
        product(a, b).sum().backward()

    with FlopCounterMode(display=False) as counter:
        step()
    priced = price(step)
    # It leaves out the addition of addmm.
    added = sum(
        call.arguments[1].dims[0] * call.arguments[2].dims[1] for call, _ in priced.costed if call.name == "aten::addmm"
    )
    ours = sum(cost.flops for _, cost in priced.costed if cost.arithmetic is Arithmetic.MATRIX)
    assert ours - added == counter.get_total_flops()


QUERY, KEY = (2, 4, 10, 16), (2, 4, 12, 16)
ATTENTION = [
    ("flash_attention", ("0.", "False", "False"), ("0.", "False")),
    ("flash_attention_for_cpu", ("0.", "False"), ("0.", "False")),
    ("efficient_attention", (None, "True", "0.", "False"), ("0.", "False")),
    ("cudnn_attention", (None, "True", "0.", "False"), ("0.", "False")),
]


@pytest.mark.parametrize(("kind", "options", "backward_options"), ATTENTION)
def test_attention_agrees_with_pytorchs_formula_in_every_variant(kind, options, backward_options):
    query, key = half(*QUERY), half(*KEY)
    ahead = cost_of(Call(f"aten::_scaled_dot_product_{kind}", (query, key, key, *options)))
    back = cost_of(Call(f"aten::_scaled_dot_product_{kind}_backward", (query, query, key, key)))
    assert ahead is not None
    assert back is not None
    assert ahead.flops == sdpa_flop_count(QUERY, KEY, KEY)
    assert back.flops == sdpa_backward_flop_count(QUERY, QUERY, KEY, KEY)
    assert ahead.arithmetic is back.arithmetic is Arithmetic.MATRIX


def test_causal_attention_costs_the_pairs_that_are_not_masked():
    whole, causal = (
        cost_of(Call("aten::_scaled_dot_product_flash_attention", (half(1, 1, 10, 16),) * 3 + ("0.", flag)))
        for flag in ("False", "True")
    )
    assert whole is not None
    assert causal is not None
    assert causal.flops / whole.flops == (10 * 11 / 2) / 100


def test_attention_reads_and_writes_its_operands_alone_and_no_matrix_of_scores():
    cost = cost_of(Call("aten::_scaled_dot_product_flash_attention", (half(1, 1, 1000, 64),) * 3 + ("0.", "False")))
    assert cost is not None
    assert cost.bytes == 4 * 1000 * 64 * 2 + 1000 * 4


@pytest.mark.parametrize("requires_grad", [False, True])
def test_attention_on_the_cpu_is_counted_once(price, requires_grad):
    query = torch.randn(*QUERY, requires_grad=requires_grad)
    priced = price(lambda: F.scaled_dot_product_attention(query, query, query))
    ours = sum(cost.flops for _, cost in priced.costed if cost.arithmetic is Arithmetic.MATRIX)
    assert ours == sdpa_flop_count(QUERY, QUERY, QUERY)
