"""Everything that no tensor core does, by hand: FLOPs and bytes of each kind of operator."""

from __future__ import annotations

import pytest

from autotune.probes.costs import Argument, Arithmetic, Call, Tensor, cost_of

FLOAT, HALF, LONG, BOOL = "float", "c10::Half", "long int", "bool"


def t(*dims: int, dtype: str = FLOAT) -> Tensor:
    return Tensor(dims, dtype)


MAP = t(2, 8, 10, 10)  # 1600 elements, 6400 bytes
C = t(8)
# name, arguments, FLOPs, bytes
OPERATORS: list[tuple[str, tuple[Argument, ...], float, float]] = [
    # Elementwise: each operand read in its own shape, the result written; in place, the first is both.
    ("aten::add", (MAP, MAP, "1"), 1600, 3 * 6400),
    ("aten::add_", (MAP, MAP, "1"), 1600, 3 * 6400),
    ("aten::mul", (MAP, t(1, 8, 1, 1)), 1600, 2 * 6400 + 32),
    ("aten::mul_", (MAP, t(dtype="double")), 1600, 2 * 6400 + 8),
    ("aten::mul", (t(3, 1), t(1, 5)), 15, 12 + 20 + 60),
    ("aten::relu", (MAP,), 1600, 2 * 6400),
    ("aten::relu_", (MAP,), 1600, 2 * 6400),
    ("aten::clamp", (MAP, "0.", "6.", MAP), 3200, 2 * 6400),
    ("aten::sigmoid", (MAP,), 16000, 2 * 6400),
    ("aten::hardswish_", (MAP,), 8000, 2 * 6400),
    ("aten::hardswish_backward", (MAP, MAP), 8000, 3 * 6400),
    ("aten::threshold_backward", (MAP, MAP, "0"), 1600, 3 * 6400),
    ("aten::ge", (t(1000), "0.5"), 1000, 4000 + 1000),
    ("aten::bitwise_and", (t(1000, dtype=BOOL), t(1000, dtype=BOOL)), 1000, 3000),
    ("aten::where", (t(1000, dtype=BOOL), t(1000), t()), 1000, 1000 + 4000 + 4 + 4000),
    ("aten::masked_fill_", (t(1000), t(1000, dtype=BOOL), "-1"), 1000, 1000 + 8000),
    ("aten::addcdiv_", (t(1000), t(1000), t(1000), "-0.1"), 3000, 4 * 4000),
    ("aten::lerp_", (t(1000), t(1000), "0.1"), 3000, 3 * 4000),
    # Reductions.
    ("aten::sum", (MAP, "[-1, -2]", "True", None), 1600, 6400 + 2 * 8 * 4),
    ("aten::mean", (MAP, None), 1600, 6400 + 4),
    ("aten::sum", (t(1000, dtype=BOOL), "[0]", "False", "4"), 1000, 1000 + 8),
    ("aten::any", (t(1000, 2, dtype=BOOL), "1", "False"), 2000, 2000 + 1000),
    ("aten::max", (t(5, 1000), "0", "False"), 5000, 20000 + 1000 * (4 + 8)),
    ("aten::argmax", (t(5, 1000), "-1", "False"), 5000, 20000 + 5 * 8),
    ("aten::topk", (t(5, 1000), "100", "1", "True", "True"), 5000, 20000 + 500 * (4 + 8)),
    ("aten::sort", (t(4, 1024), "1", "True"), 4096 * 10, 4096 * (4 + 4 + 8)),
    ("aten::cumsum", (t(1000), "0", None), 1000, 8000),
    ("aten::nonzero", (t(1000, dtype=BOOL),), 1000, 1000),
    ("aten::_softmax", (t(100, 91), "1", "False"), 12 * 9100, 2 * 36400),
    ("aten::_log_softmax", (t(100, 91, dtype=HALF), "1", "True"), 12 * 9100, 9100 * (2 + 4)),
    ("aten::_log_softmax_backward_data", (t(100, 91), t(100, 91), "1", "6"), 11 * 9100, 3 * 36400),
    # Copies.
    ("aten::copy_", (t(1000, dtype=HALF), t(1000), "False"), 0, 2000 + 4000),
    ("aten::clone", (MAP, None), 0, 2 * 6400),
    ("aten::fill_", (MAP, "0"), 0, 6400),
    ("aten::zero_", (MAP,), 0, 6400),
    ("aten::cat", ((t(2, 3), t(4, 3)), "0"), 0, 2 * 18 * 4),
    ("aten::stack", ((t(3), t(3)), "0"), 0, 2 * 6 * 4),
    ("aten::constant_pad_nd", (t(1, 3, 10, 10), "[0, 2, 1, 1]", "0."), 0, 1200 + 3 * 12 * 12 * 4),
    ("aten::arange", ("0", "20", None, None, None, "False"), 0, 160),
    ("aten::arange", ("5", None, None, None, "False"), 0, 40),
    # What is gathered, not the table.
    ("aten::index", (t(1000, 4), (t(10, dtype=LONG),)), 0, 2 * 40 * 4 + 80),
    ("aten::gather", (t(1000, 4), "0", t(10, 4, dtype=LONG)), 0, 2 * 40 * 4 + 320),
    ("aten::index_select", (t(1000, 4), "0", t(10, dtype=LONG)), 0, 2 * 40 * 4 + 80),
    ("aten::embedding", (t(5185, 64), t(1, 10, dtype=LONG)), 0, 2 * 640 * 4 + 80),
    ("aten::index_put_", (t(1000, 4), None, t(10, 4), "False"), 0, 2 * 160 + 80),
    ("aten::index_put", (t(1000, 4), None, t(10, 4), "False"), 0, 2 * 160 + 80 + 2 * 16_000),
    ("aten::_index_put_impl_", (t(1000, 4), None, t(10, 4), "True", "True"), 40, 3 * 160 + 80),
    ("aten::scatter_", (t(1000, 4), "0", t(10, 4, dtype=LONG), t(10, 4)), 0, 320 + 2 * 160),
    ("aten::scatter_add_", (t(1000, 4), "0", t(10, 4, dtype=LONG), t(10, 4)), 40, 320 + 3 * 160),
    # Pooling and upsampling.
    (
        "aten::max_pool2d_with_indices",
        (MAP, "[3, 3]", "[2, 2]", "[1, 1]", "[1, 1]", "False"),
        9 * 400,
        6400 + 400 * (4 + 8),
    ),
    ("aten::max_pool2d_with_indices", (MAP, "[2, 2]", "[]", "[0, 0]", "[1, 1]", "False"), 1600, 6400 + 400 * 12),
    ("aten::avg_pool2d", (MAP, "[3, 3]", "[2, 2]", "[0, 0]", "True"), 9 * 400, 6400 + 1600),
    ("aten::_adaptive_avg_pool2d", (MAP, "[5, 5]"), 1600, 6400 + 1600),
    ("aten::upsample_nearest2d", (MAP, "[20, 20]", None, None), 0, 6400 + 4 * 6400),
    ("aten::upsample_nearest2d", (MAP, None, "[2., 2.]"), 0, 6400 + 4 * 6400),
    ("aten::upsample_bilinear2d", (MAP, "[20, 20]", "False", None), 8 * 6400, 6400 + 4 * 6400),
    (
        "aten::upsample_nearest2d_backward",
        (t(2, 8, 20, 20), "[20, 20]", "[2, 8, 10, 10]", None, None),
        6400,
        5 * 6400,
    ),
    (
        "aten::grid_sampler_2d",
        (MAP, t(2, 3, 3, 2), "0", "0", "False"),
        18 * 8 * 8 + 18 * 12,
        18 * 8 * 4 * 4 + 36 * 4 + 144 * 4,
    ),
    # Normalization.
    ("aten::native_batch_norm", (MAP, C, C, C, C, "True", "0.1", "1e-05"), 5 * 1600, 2 * 6400 + 8 * 32),
    ("aten::native_batch_norm", (MAP, C, C, C, C, "False", "0.1", "1e-05"), 2 * 1600, 2 * 6400 + 4 * 32),
    (
        "aten::native_batch_norm_backward",
        (MAP, MAP, C, C, C, C, C, "True", "1e-05", "[True, True, True]"),
        9 * 1600,
        3 * 6400 + 5 * 32,
    ),
    (
        "aten::native_batch_norm_backward",
        (MAP, MAP, C, C, C, None, None, "False", "1e-05", "[True, False, False]"),
        1600,
        2 * 6400 + 3 * 32,
    ),
    ("aten::cudnn_batch_norm_backward", (MAP, MAP, C, C, C, C, C, "1e-05", C), 9 * 1600, 3 * 6400 + 5 * 32),
    ("aten::native_layer_norm", (t(10, 32), "[32]", t(32), t(32), "1e-05"), 7 * 320, 2 * 1280 + 2 * 128 + 80),
    ("aten::native_group_norm", (MAP, C, C, "2", "8", "100", "4", "1e-05"), 7 * 1600, 2 * 6400 + 64 + 2 * 8 * 4),
    # Losses.
    ("aten::nll_loss_forward", (t(100, 91), t(100, dtype=LONG), None, "1", "-100"), 200, 100 * (4 + 8)),
    (
        "aten::nll_loss_backward",
        (t(), t(100, 91), t(100, dtype=LONG), None, "1", "-100", t()),
        100,
        4 + 36400 + 100 * (4 + 8),
    ),
    ("aten::smooth_l1_loss", (t(100, 4), t(100, 4), "2", "1."), 6 * 400, 3200 + 4),
    ("aten::smooth_l1_loss", (t(100, 4), t(100, 4), "0", "1."), 5 * 400, 3 * 1600),
    ("aten::mse_loss_backward", (t(), t(100, 4), t(100, 4), "1"), 3 * 400, 4 + 3 * 1600),
    ("aten::binary_cross_entropy", (t(100), t(100), None, "1"), 21 * 100, 800 + 4),
    # Regions: 10 RoIs x 256 channels x 7 x 7 bins x 4 points, 20 FLOPs each; reads the whole map at most.
    (
        "torchvision::roi_align",
        (t(1, 256, 50, 50), t(10, 5), "0.0625", "7", "7", "2", "False"),
        10 * 256 * 49 * 4 * 20,
        256 * 2500 * 4 + 200 + 10 * 256 * 49 * 4,
    ),
    (
        "torchvision::_roi_align_backward",
        (t(10, 256, 7, 7), t(10, 5), "0.0625", "7", "7", "1", "256", "50", "50", "2", "False"),
        10 * 256 * 49 * 4 * 20,
        10 * 256 * 49 * 4 + 200 + 3 * 256 * 2500 * 4,
    ),
    ("torchvision::nms", (t(1000, 4), t(1000), "0.5"), 19 * 1000**2 / 2, 16000 + 4000 + 2 * 1000 * 16 * 8),
    # Lists.
    ("aten::_foreach_add_", ((t(10), t(20)), (t(10), t(20)), "1"), 30, 3 * 120),
    ("aten::_foreach_mul_", ((t(10), t(20)), "0.9"), 30, 2 * 120),
    ("aten::_foreach_sqrt", ((t(10), t(20)),), 30, 2 * 120),
    ("aten::_foreach_addcdiv_", ((t(10),), (t(10),), (t(10),), "[0.1]"), 30, 4 * 40),
    ("aten::_foreach_norm", ((t(10), t(20)), "2", None), 60, 120),
    ("aten::_foreach_copy_", ((t(10),), (t(10),), "False"), 0, 80),
    ("aten::_foreach_zero_", ((t(10),),), 0, 40),
    ("aten::_amp_foreach_non_finite_check_and_unscale_", ((t(10),), t(), t()), 20, 80),
    # Reads parameter, gradient and two moments, writes all but the gradient.
    ("aten::_fused_adamw_", (*((t(10), t(20)),) * 4, (), (t(), t()), "0.1"), 14 * 30, 7 * 120),
    ("aten::_fused_sgd_", ((t(10),), (t(10),), (t(10),), "0.", "0.9", "0.1"), 60, 5 * 40),
    ("aten::_fused_sgd_", ((t(10),), (t(10),), (), "0.", "0.", "0.1"), 60, 3 * 40),
]


@pytest.mark.parametrize(("name", "arguments", "flops", "moved"), OPERATORS)
def test_an_operator_costs_what_it_must_do_and_move(name, arguments, flops, moved):
    cost = cost_of(Call(name, arguments))
    assert cost is not None
    assert (cost.flops, cost.bytes, cost.arithmetic) == (flops, moved, Arithmetic.VECTOR)


@pytest.mark.parametrize("name", ["view", "as_strided", "expand", "permute", "empty", "empty_strided", "detach"])
def test_what_moves_nothing_is_free(name):
    cost = cost_of(Call(f"aten::{name}", (MAP, "[2, 800]")))
    assert cost is not None
    assert (cost.flops, cost.bytes) == (0, 0)


@pytest.mark.parametrize(
    ("tensors", "dtype"),
    [
        ((t(4, dtype=HALF), t(4)), FLOAT),
        ((t(4, dtype=HALF), t(dtype="double")), HALF),
        ((t(4, dtype=LONG), t(dtype="double")), FLOAT),
        ((t(dtype=HALF), t(4)), FLOAT),
        ((t(), t(dtype="double")), "double"),
    ],
)
def test_mixed_operands_compute_in_the_type_that_pytorch_promotes_them_to(tensors, dtype):
    cost = cost_of(Call("aten::mul", tensors))
    assert cost is not None
    assert cost.dtype == dtype


def test_a_mask_that_picks_by_the_data_is_not_modelled():
    assert cost_of(Call("aten::index", (t(1000, 4), None))) is None
    assert cost_of(Call("aten::index_put_", (t(1000), None, t(), "False"))) is None


def test_an_adaptive_roi_align_takes_two_points_on_each_axis_where_the_map_allows():
    def flops(size: int, ratio: str) -> float:
        cost = cost_of(Call("torchvision::roi_align", (t(1, 8, size, size), t(10, 5), "1.", "7", "7", ratio, "True")))
        assert cost is not None
        return cost.flops

    assert flops(50, "0") == flops(50, "2") == 4 * flops(50, "1")
    assert flops(7, "0") == flops(7, "1")


def test_deformable_convolution_costs_the_dense_one_and_its_sampling():
    arguments = (t(2, 8, 10, 10), t(16, 8, 3, 3), t(2, 18, 10, 10), t(2, 9, 10, 10), t(16), *("1",) * 8, "True")
    ahead = cost_of(Call("torchvision::deform_conv2d", arguments))
    back = cost_of(Call("torchvision::_deform_conv2d_backward", (t(2, 16, 10, 10), *arguments)))
    assert ahead is not None
    assert back is not None
    assert ahead.flops == 2 * 200 * (16 * 8 * 9) + 200 * 8 * 9 * 20
    assert ahead.arithmetic is Arithmetic.CONVOLUTION
    assert back.flops == 2 * ahead.flops
