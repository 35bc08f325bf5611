from __future__ import annotations

import io

import pandas as pd
import pytest

from autotune.profile_record import Layer
from autotune.reports import layers_csv
from profiles import EVERY_PROFILE, detector_profile

RENAMED = {"intensity": "intensity_flops_per_byte", "modelled": "modelled_share"}


@pytest.mark.parametrize("name", EVERY_PROFILE)
def test_each_layer_is_a_row_whose_figures_pandas_reads_back_exactly(name):
    of = EVERY_PROFILE[name]
    frame = pd.read_csv(io.StringIO(layers_csv.render(of)))
    assert len(frame) == len(of.layers)
    for layer, row in zip(of.layers, frame.to_dict("records"), strict=True):
        for field, value in layer.model_dump(mode="json").items():
            read = row[RENAMED.get(field, field)]
            assert pd.isna(read) if value in (None, "") else read == value, field


def test_every_field_and_every_computed_one_is_a_column():
    header = layers_csv.render(detector_profile()).splitlines()[0].split(",")
    fields = [*Layer.model_fields, *Layer.model_computed_fields]
    assert header == [RENAMED.get(field, field) for field in fields]


def test_times_and_rates_have_their_unit_in_the_name():
    header = layers_csv.render(detector_profile()).splitlines()[0].split(",")
    words = {
        "layer",
        "phase",
        "module",
        "arithmetic",
        "bound",
        "work_bound",
        "balanced",
        "above_ceiling",
        "fewer_multiplications",
    }
    unitless = {*words, "kernels", "waves"}
    unit = ("_ms", "flops", "bytes", "_per_second", "_per_byte", "_ratio", "_share")
    assert [name for name in header if name not in unitless and not name.endswith(unit)] == []
