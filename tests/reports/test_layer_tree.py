from __future__ import annotations

import pytest

from autotune.profile_record import UNATTRIBUTED, Bound, Phase
from autotune.reports.layer_tree import rows, select
from profiles import EVERY_PROFILE, detector_profile, large_profile, layer, profile

FORWARD, BACKWARD = Phase.FORWARD, Phase.BACKWARD


def drawn(of, limit: int = 40):
    return rows(of.layers, select(of, limit))


def outline(of, limit: int = 40) -> list[str]:
    return ["  " * row.depth + row.label + (f" {row.layer.phase}" if row.layer else "") for row in drawn(of, limit)]


def full_names(tree) -> list[str]:
    """The qualified name of each row, put together again from the labels above it."""
    names: list[str] = []
    above: list[str] = []
    for row in tree:
        above = [*above[: row.depth], row.label]
        names.append(".".join(above).removesuffix(".(itself)"))
    return names


@pytest.mark.parametrize("name", EVERY_PROFILE)
def test_the_fewest_layers_that_take_90_percent_are_chosen(name):
    of = EVERY_PROFILE[name]
    covering = [each for each in select(of).covering if each.layer != UNATTRIBUTED]
    chosen_ms = sum(each.time_ms for each in select(of).covering)
    assert chosen_ms >= 0.9 * of.busy_ms
    if covering:
        assert chosen_ms - covering[-1].time_ms < 0.9 * of.busy_ms


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("of", [detector_profile, large_profile])
def test_subtotals_are_the_sums_of_all_layers_under_their_name(of, seed):
    of = large_profile(seed) if of is large_profile else of()
    tree = drawn(of)
    subtotals = 0
    for row, name in zip(tree, full_names(tree), strict=True):
        if row.layer:
            assert (row.layer.layer, row.time_ms) == (name, row.layer.time_ms)
            continue
        under = [each for each in of.layers if each.layer == name or each.layer.startswith(f"{name}.")]
        assert row.time_ms == pytest.approx(sum(each.time_ms for each in under))
        assert row.folded in (0, len(under))
        subtotals += 1
    assert subtotals


def test_every_shown_layer_has_one_row_and_no_other_has():
    of = large_profile()
    shown = [(row.layer.layer, row.layer.phase) for row in drawn(of) if row.layer]
    assert len(shown) == 40
    assert sorted(shown) == sorted((each.layer, each.phase) for each in select(of).shown)


def test_siblings_stand_in_the_order_of_their_time():
    tree = drawn(large_profile())
    at_the_top = [row.time_ms for row in tree if row.depth == 0]
    assert len(at_the_top) == 3
    assert at_the_top == sorted(at_the_top, reverse=True)


def test_a_chain_of_parents_with_one_child_is_one_row():
    of = profile([layer("a.b.c.conv", FORWARD, 3.0), layer("a.b.c.bn", FORWARD, 2.0), layer("d.e.f", FORWARD, 1.0)])
    assert outline(of) == ["a.b.c", "  conv forward", "  bn forward", "d.e.f forward"]


def test_a_modules_own_work_stands_beside_its_children():
    of = profile([layer("heads", FORWARD, 5.0), layer("heads.box", FORWARD, 3.0), layer("heads.box", BACKWARD, 4.0)])
    assert outline(of) == ["heads", "  box backward", "  box forward", "  (itself) forward"]


def test_a_subtree_without_a_shown_layer_is_one_row_that_says_how_many_layers_it_holds():
    of = profile(
        [
            layer("big.conv", FORWARD, 10.0),
            layer("big.bn", FORWARD, 6.0),
            *(layer(f"small.{n}.{part}", FORWARD, 2.0) for n in range(2) for part in ("conv", "bn")),
        ]
    )
    tree = drawn(of, limit=2)
    assert [(row.label, row.time_ms, row.folded) for row in tree] == [
        ("big", 16.0, 0),
        ("conv", 10.0, 0),
        ("bn", 6.0, 0),
        ("small", 8.0, 4),
    ]


def test_what_belongs_to_no_layer_is_shown_however_little_it_is_and_beyond_any_limit():
    of = profile(
        [*(layer(f"m{n}", FORWARD, 5.0) for n in range(9)), layer(UNATTRIBUTED, FORWARD, 1e-4, Bound.UNMODELLED)]
    )
    assert outline(of, limit=3)[-1] == "(unattributed) forward"
    none = profile([layer("m", FORWARD, 5.0), layer(UNATTRIBUTED, FORWARD, 0.0, Bound.UNMODELLED)])
    assert outline(none) == ["m forward"]


def test_a_name_in_parentheses_is_no_module():
    of = profile([layer("(a.b)", FORWARD, 5.0), layer("(a.c)", FORWARD, 3.0)])
    assert outline(of) == ["(a.b) forward", "(a.c) forward"]
