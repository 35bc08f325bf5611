"""What an export says of an operator's inputs, in all its forms, and what it may lack."""

from __future__ import annotations

import json

import pytest

from autotune.probes.costs import Call, Tensor, cost_of, parse_call


def read(dims: object, types: object, concrete: object) -> tuple[object, ...]:
    return parse_call("aten::x", *(json.dumps(column).encode() for column in (dims, types, concrete))).arguments


def test_a_convolution_as_the_profiler_writes_it():
    call = parse_call(
        "aten::convolution",
        b"[[4, 3, 320, 320], [16, 3, 3, 3], [], [], [], [], [], [], []]",
        b'["float","float","","ScalarList","ScalarList","ScalarList","Scalar","ScalarList","Scalar"]',
        b'["", "", "", "[2, 2]", "[1, 1]", "[1, 1]", "False", "[0, 0]", "1"]',
    )
    source, weight = Tensor((4, 3, 320, 320), "float"), Tensor((16, 3, 3, 3), "float")
    assert call == Call(
        "aten::convolution", (source, weight, None, "[2, 2]", "[1, 1]", "[1, 1]", "False", "[0, 0]", "1")
    )


def test_a_scalar_tensor_has_no_dimensions_and_is_not_a_missing_one():
    assert read([[], [], []], ["double", "", "Scalar"], ["", "", "0.001"]) == (Tensor((), "double"), None, "0.001")


@pytest.mark.parametrize(
    ("others", "dtype"), [(["c10::Half", "Scalar"], "c10::Half"), (["Scalar", "Scalar"], "float"), (["", ""], "float")]
)
def test_a_list_takes_its_type_from_the_other_arguments(others, dtype):
    members = read([[[1, 4], [2, 4]], [3], []], ["TensorList", *others], ["", "", "1"])[0]
    assert members == (Tensor((1, 4), dtype), Tensor((2, 4), dtype))


def test_a_list_takes_the_type_of_a_tensor_before_that_of_a_scalar():
    arguments = read([[[1, 4]], [], [8]], ["TensorList", "double", "c10::Half"], ["", "", ""])
    assert arguments[0] == (Tensor((1, 4), "c10::Half"),)


@pytest.mark.parametrize(
    ("columns", "arguments"),
    [
        ((b"", b"", b""), ()),
        ((b"[[2, 3], []]", b'["float", "Scalar"]', b""), (Tensor((2, 3), "float"), None)),
        ((b"", b'["float", "Scalar"]', b'["", "1"]'), (None, "1")),
        ((b"[[2, 3]]", b"", b""), (None,)),
        ((b"{", b"null", b"7"), ()),
        ((b'[[2, "x"], {}, [true], [-1]]', b'["float", "float", "float", "float"]', b"[]"), (None,) * 4),
        ((b"[[[2], 5]]", b'["TensorList"]', b"[]"), (None,)),
        ((b"[[2]]", b"[7]", b"[]"), (None,)),
        ((b"[[2]]", b'["GenericList"]', b'[""]'), (None,)),
        ((b"[[2]]", b'["Scalar"]', b"[[1]]"), (None,)),
    ],
)
def test_what_was_not_recorded_is_none_and_nothing_raises(columns, arguments):
    assert parse_call("aten::x", *columns).arguments == arguments


def test_a_call_without_arguments_is_not_modelled():
    assert cost_of(parse_call("aten::convolution", b"", b"", b"")) is None
