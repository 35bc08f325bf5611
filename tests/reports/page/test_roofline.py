from __future__ import annotations

import pytest

from autotune.profile_record import Ceilings
from autotune.reports.page.layers import COLUMNS, layer_rows
from autotune.reports.page.roofline import roofline
from profiles import BYTES_PER_S, CEILINGS, DATASHEET, EVERY_PROFILE, FLOPS_PER_S, detector_profile


def test_each_layer_and_phase_is_one_point_where_its_intensity_and_speed_are():
    profile = detector_profile()
    drawn = roofline(profile)
    assert len(drawn.x) == len(drawn.y) == len(layer_rows(profile)) == len(profile.layers)
    for layer, x, y in zip(profile.layers, drawn.x, drawn.y, strict=True):
        if layer.flops and layer.bytes:
            assert x == pytest.approx(layer.intensity, rel=1e-4)
            assert y == pytest.approx(layer.flops_per_second, rel=1e-4)
        else:
            assert (x, y) == (None, None)


def test_the_layers_that_have_no_place_are_counted():
    drawn = roofline(detector_profile())
    assert drawn.x.count(None) == 2
    assert drawn.note.startswith("11 points, one per layer and phase. 2 more, 1.6% of the busy time, have no FLOPs")


@pytest.mark.parametrize("profile", EVERY_PROFILE.values(), ids=EVERY_PROFILE)
def test_every_profile_has_a_roofline(profile):
    assert len(roofline(profile).x) == len(profile.layers)


def test_a_roof_is_the_bandwidth_up_to_the_ridge_and_the_arithmetic_beyond():
    convolution = next(roof for roof in roofline(detector_profile()).roofs if roof.name.startswith("convolution bf16"))
    left, ridge, right = convolution.x
    assert convolution.measured
    assert ridge == pytest.approx(FLOPS_PER_S / BYTES_PER_S)
    assert convolution.y == pytest.approx((left * BYTES_PER_S, FLOPS_PER_S, FLOPS_PER_S))
    assert left < ridge < right


def test_measured_and_datasheet_roofs_stand_beside_each_other():
    kinds = [(roof.name.partition(",")[0], roof.measured) for roof in roofline(detector_profile()).roofs]
    # The datasheet has no figure for convolutions.
    assert kinds == [("matrix bf16", True), ("matrix bf16", False), ("convolution bf16", True)]


def test_roofs_reach_from_the_leftmost_to_the_rightmost_of_all():
    drawn = roofline(detector_profile())
    assert len({(roof.x[0], roof.x[-1]) for roof in drawn.roofs}) == 1
    points = [x for x in drawn.x if x is not None]
    assert drawn.roofs[0].x[0] < min(points)
    assert max(points) < drawn.roofs[0].x[-1]


def test_a_datasheet_alone_is_not_called_measured():
    both = Ceilings(ceilings=(CEILINGS.ceilings[0], DATASHEET.ceilings[0]), measured=False)
    assert [roof.measured for roof in roofline(detector_profile(ceilings=both)).roofs] == [False]


def test_only_ceilings_that_a_layer_was_compared_with_are_marked_as_used():
    layers = [layer.model_copy(update={"arithmetic": "convolution bf16"}) for layer in detector_profile().layers]
    used = {roof.name.partition(",")[0]: roof.used for roof in roofline(detector_profile(layers)).roofs}
    assert used == {"matrix bf16": False, "convolution bf16": True}


def test_a_row_has_what_the_pointer_shows():
    row = dict(zip(COLUMNS, layer_rows(detector_profile())[1], strict=True))
    assert row["layer"] == "backbone.body.conv1"
    assert row["bound"] == "memory"
    assert row["memory_ratio"] == pytest.approx(1.2)
    assert row["share"] == pytest.approx(0.09)
    assert row["remark"] == "above a ceiling"
