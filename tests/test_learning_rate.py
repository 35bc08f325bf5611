from __future__ import annotations

import pytest

from autotune.learning_rate import learning_rate_factor, learning_rate_note


@pytest.mark.parametrize(
    ("optimizer", "tuned", "now", "factor"),
    [("sgd", 16, 64, 4.0), ("adamw", 16, 64, 2.0), ("sgd", 64, 16, 0.25), ("adamw", 8, 8, 1.0)],
)
def test_sgd_scales_linearly_and_adam_with_the_square_root(optimizer, tuned, now, factor):
    assert learning_rate_factor(optimizer, tuned, now) == pytest.approx(factor)


def test_the_rule_is_said_with_its_source_and_only_where_the_batch_changes():
    assert learning_rate_note("sgd", 16, 16) is None
    assert "multiply it by 4: SGD's scales linearly" in (learning_rate_note("sgd", 16, 64) or "")
    assert "by 2: AdamW's scales with its square root (Malladi" in (learning_rate_note("adamw", 16, 64) or "")
