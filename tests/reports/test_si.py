from __future__ import annotations

import pytest

from autotune.reports.si import gib, milliseconds, si


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (61.23e12, "FLOP/s", "61.2 TFLOP/s"),
        (4.1e12, "B/s", "4.10 TB/s"),
        (999.6, "B/s", "1.00 kB/s"),
        (999.4, "", "999"),
        (123456.0, "", "123 k"),
        (2.31e-6, "s", "2.31 us"),
        (0.0, "B/s", "0.00 B/s"),
        (1e21, "FLOP/s", "1000 EFLOP/s"),
        (1e-12, "s", "0.00 ns"),
    ],
)
def test_a_number_has_three_digits_and_a_prefix(value, unit, text):
    assert si(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.6543, "0.654"),
        (0.04, "0.040"),
        (0.9996, "1.00"),
        (6.543, "6.54"),
        (9.996, "10.0"),
        (38.46, "38.5"),
        (139.8, "139.8"),
        (1024.0, "1024.0"),
    ],
)
def test_memory_has_three_digits_but_one_decimal_at_least(value, text):
    assert gib(value) == text


def test_figures_side_by_side_have_as_many_decimals():
    assert milliseconds(3.14159) == "3.142 ms"
    assert milliseconds(3.14159, beside=200.0) == "3.1 ms"
