from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import exported
from autotune.errors import TraceError
from autotune.probes.traces import Trace, read_trace
from autotune.probes.traces.events import ABSENT, DeviceKind, Signature


@pytest.mark.parametrize(
    ("name", "device", "multiprocessors", "rows"),
    [
        ("v100_convnet_training", "Tesla V100-SXM2-32GB", 80, (23910, 70, 15329, 6095)),
        ("h100_owlv2_inference", "NVIDIA H100 80GB HBM3", 132, (24378, 7, 9292, 5165)),
        ("a100_alexnet_cupti_counters", "NVIDIA A100-PG509-200", 108, (375, 8, 1862, 0)),
    ],
)
def test_real_traces_are_read_whole(traces, name, device, multiprocessors, rows):
    trace = read_trace(traces / f"{name}.json.gz")
    assert (trace.devices[0].name, trace.devices[0].multiprocessors) == (device, multiprocessors)
    assert trace.schema_version == 1
    assert tuple(map(len, (trace.operators, trace.annotations, trace.launches, trace.device_events))) == rows
    assert trace.has_device_events is (rows[-1] > 0)


def test_the_columns_are_what_json_reads(traces):
    path = traces / "v100_convnet_training.json.gz"
    trace = read_trace(path)
    with gzip.open(path) as file:
        content = json.load(file, parse_float=str)
    events = [event for event in content["traceEvents"] if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]
    found = trace.device_events
    assert [trace.names[code] for code in found.name] == [event["name"] for event in events]
    # Exact: no digit of the nanoseconds is lost.
    assert found.start_ns.tolist() == [int(event["ts"].replace(".", "")) for event in events]
    assert found.duration_ns.tolist() == [int(event["dur"].replace(".", "")) for event in events]
    for column, argument in [("correlation",) * 2, ("stream",) * 2, ("device",) * 2, ("external_id", "External id")]:
        assert getattr(found, column).tolist() == [event["args"][argument] for event in events]
    assert found.grid.tolist() == [event["args"].get("grid", [ABSENT] * 3) for event in events]
    assert found.block.tolist() == [event["args"].get("block", [ABSENT] * 3) for event in events]
    for column, argument in [
        ("registers", "registers per thread"),
        ("shared_memory_bytes", "shared memory"),
        ("moved_bytes", "bytes"),
    ]:
        assert getattr(found, column).tolist() == [event["args"].get(argument, ABSENT) for event in events]
    assert np.bincount(found.kind).tolist() == [4350, 1600, 145]
    assert (DeviceKind.KERNEL, DeviceKind.MEMCPY, DeviceKind.MEMSET) == (0, 1, 2)


def test_the_signatures_of_a_real_trace_are_what_json_reads(traces):
    path = traces / "h100_owlv2_inference.json.gz"
    trace = read_trace(path)
    with gzip.open(path) as file:
        events = [event for event in json.load(file)["traceEvents"] if event.get("cat") == "cpu_op"]
    found = [trace.signatures[code] for code in trace.operators.signature]
    for column, argument in [("dims", "Input Dims"), ("types", "Input type"), ("concrete", "Concrete Inputs")]:
        texts = [getattr(signature, column) for signature in found]
        read = {text: json.loads(text) for text in set(texts)}
        assert [read[text] for text in texts] == [event["args"][argument] for event in events]
    assert len(trace.signatures) == len(set(trace.signatures)) < len(events) / 50


def test_equal_signatures_share_a_code_and_what_has_none_has_no_code(tmp_path):
    relu = [([2, 3], "float", "")]
    flatten = [([2, 3], "float", ""), ([], "Scalar", "1")]
    trace = read_trace(
        exported.save(
            tmp_path / "trace.json",
            exported.operator("aten::relu", 0, 1, inputs=relu),
            exported.operator("aten::flatten", 1, 1, inputs=flatten),
            exported.operator("ReluBackward0", 2, 1),
            exported.operator("aten::clamp_min", 3, 1, inputs=relu),
            exported.operator("aten::rand", 4, 1, inputs=[]),
        )
    )
    assert trace.operators.signature.tolist() == [0, 1, ABSENT, 0, 2]
    assert trace.signatures == (
        (b"[[2, 3]]", b'["float"]', b'[""]'),
        (b"[[2, 3], []]", b'["float", "Scalar"]', b'["", "1"]'),
        (b"[]", b"[]", b"[]"),
    )


def test_the_signatures_of_older_traces_are_read(tmp_path):
    shaped = exported.operator("aten::relu", 0, 1, inputs=[([2, 3], "float", "")], dims_key="Input dims")
    del shaped["args"]["Concrete Inputs"]
    (signature,) = read_trace(exported.save(tmp_path / "trace.json", shaped)).signatures
    assert signature == Signature(dims=b"[[2, 3]]", types=b'["float"]', concrete=b"")


def test_kernels_have_their_resources_and_copies_and_fills_their_bytes(tmp_path):
    huge = exported.kernel(3, 1, 4)
    huge["args"] |= {"registers per thread": "many", "shared memory": 2**70, "grid": [1, "a", 1]}
    trace = read_trace(
        exported.save(
            tmp_path / "trace.json",
            exported.kernel(0, 1, 1),
            exported.kernel(1, 1, 2, category="gpu_memcpy"),
            exported.kernel(2, 1, 3, category="gpu_memset"),
            huge,
        )
    ).device_events
    assert trace.registers.tolist() == [168, ABSENT, ABSENT, ABSENT]
    assert trace.shared_memory_bytes.tolist() == [49152, ABSENT, ABSENT, ABSENT]
    assert trace.moved_bytes.tolist() == [ABSENT, 4096, 4096, ABSENT]
    assert trace.grid[3].tolist() == [1, ABSENT, 1]


def test_the_limits_of_a_real_gpus_multiprocessors(traces):
    (device,) = read_trace(traces / "h100_owlv2_inference.json.gz").devices
    assert device.threads_per_multiprocessor == 2048
    assert device.registers_per_multiprocessor == 65536
    assert device.shared_memory_per_multiprocessor_bytes == 233472


@pytest.mark.parametrize("chunk_bytes", [7, 8 << 20])
@pytest.mark.parametrize("before", [True, False])
def test_what_autotune_recorded_is_kept_wherever_it_stands(tmp_path, monkeypatch, chunk_bytes, before):
    monkeypatch.setattr("autotune.probes.traces.stream._CHUNK_BYTES", chunk_bytes)
    own = {"autotune": {"modules": ["backbone"], "note": '"traceEvents": ['}}
    content = {"schemaVersion": 1, "traceEvents": [exported.operator("aten::add", 0, 1)]}
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(own | content if before else content | own), encoding="utf-8")
    assert json.loads(read_trace(path).recorded) == own["autotune"]


HARD_TO_CUT = (
    exported.operator('a"}, {"ph": "X"', 1.001, 5.5),
    {**exported.operator("b", 7, 1), "args": {"Concrete Inputs": [{"a": 1}, {"b": ["}, {"]}], "External id": 3}},
    {"ph": "X", "cat": "Trace", "pid": "Spans", "tid": "PyTorch Profiler", "name": "c", "ts": 0, "dur": 1},
    {"ph": "i", "name": "d", "ts": 1},
    exported.kernel(8, 1.25, 4),
)
LONG_TAIL = {"deviceProperties": [{"id": number, "name": "GPU", "numSms": 9} for number in range(40)]}


@pytest.mark.parametrize("chunk_bytes", [1, 7, 64, 200, 8 << 20])
def test_a_file_reads_the_same_however_it_is_cut(tmp_path, monkeypatch, chunk_bytes):
    monkeypatch.setattr("autotune.probes.traces.stream._CHUNK_BYTES", chunk_bytes)
    trace = read_trace(exported.save(tmp_path / "trace.json", *HARD_TO_CUT, **LONG_TAIL))
    assert [trace.names[code] for code in trace.operators.name] == ['a"}, {"ph": "X"', "b"]
    assert trace.operators.start_ns.tolist() == [1001, 7000]
    assert trace.operators.external_id.tolist() == [ABSENT, 3]
    assert trace.device_events.duration_ns.tolist() == [1250]
    assert len(trace.devices) == 40


def test_arguments_that_inductor_writes_on_operators_are_not_taken_for_a_kernels(tmp_path):
    inductor = {**exported.operator("triton_poi_fused_0", 0, 5), "args": {"grid": "grid(64,)", "stream": "0"}}
    trace = read_trace(exported.save(tmp_path / "trace.json", inductor, exported.kernel(8, 1, 4)))
    assert len(trace.operators) == 1
    assert trace.device_events.grid.tolist() == [[2, 3, 4]]


def test_what_torch_exports_here_is_read(tmp_path):
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, record_shapes=True) as profiler:
        torch.nn.functional.relu(torch.ones(4, requires_grad=True)).sum().backward()
        profiler.add_metadata_json("autotune", '{"modules": []}')
    path = tmp_path / "trace.json.gz"
    profiler.export_chrome_trace(str(path))
    trace = read_trace(path)
    row = [trace.names[code] for code in trace.operators.name].index("aten::relu")
    signature = trace.signatures[trace.operators.signature[row]]
    assert [json.loads(part) for part in signature] == [[[4]], ["float"], [""]]
    assert trace.recorded == b'{"modules": []}'
    assert not trace.has_device_events


ANOTHER_TOOLS = (
    {"ph": "M", "name": "process_name", "pid": 7, "args": {"name": "MainProcess"}},
    {"ph": "X", "cat": "FEE", "name": "main (a.py:1)", "pid": 7, "tid": 7, "ts": 1.5, "dur": 2, "args": {"stream": {}}},
    {"ph": "B", "cat": "v8,devtools.timeline", "name": "Layout", "pid": 7, "tid": 7, "ts": 3, "args": {"data": {}}},
)


def _cut_gzip(path: Path) -> None:
    content = gzip.compress(json.dumps({"traceEvents": HARD_TO_CUT * 1000}).encode())
    path.write_bytes(content[: len(content) // 2])


def _damaged_gzip(path: Path) -> None:
    content = bytearray(gzip.compress(json.dumps({"traceEvents": HARD_TO_CUT * 1000}).encode()))
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


def _cut_json(path: Path) -> None:
    exported.save(path, *HARD_TO_CUT)
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda path: None, "cannot be read \\(No such file or directory\\)"),
        (lambda path: path.mkdir(), "cannot be read \\(Is a directory\\)"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n"), "not JSON"),
        (lambda path: path.write_bytes(b"{not json}"), "cut short or damaged"),
        (lambda path: path.write_bytes(b'{"a": 1, "tra'), "cut short or damaged"),
        (lambda path: path.write_bytes(b'[{"ph": "X"}]'), "of another tool: it has no traceEvents"),
        (lambda path: path.write_bytes(b'{"nodes": []}'), "of another tool: it has no traceEvents"),
        (lambda path: path.write_bytes(gzip.compress(b"")), "empty"),
        (lambda path: path.write_bytes(gzip.compress(b"some text")), "not JSON"),
        (lambda path: path.write_bytes(b'{"traceEvents": [{"name": "\xff"}]}'), "cut short or damaged"),
        (lambda path: path.write_bytes(b'{"a": ' + b"[" * 10**5), "cut short or damaged"),
        (lambda path: exported.save(path), "no operators and no kernels"),
        (lambda path: exported.save(path, *ANOTHER_TOOLS), "no operators and no kernels in it; give"),
        (lambda path: exported.save(path, exported.operator("a", 0, 1) | {"ts": "NaN"}), "no time since 1970"),
        (lambda path: exported.save(path, exported.operator("a", 1e300, 1)), "no time since 1970"),
        (lambda path: exported.save(path, {"ph": "X", "ts": "now"}), "not a trace of torch.profiler: .*ts"),
        (lambda path: exported.save(path, exported.launch(1, 2**70)), "not a trace of torch.profiler: .*correlation"),
        (_cut_gzip, "a gzip file cut short or damaged"),
        (_damaged_gzip, "cut short or damaged"),
        (_cut_json, "cut short or damaged"),
    ],
)
def test_a_bad_file_is_one_sentence_that_names_it(tmp_path, write, sentence):
    path = tmp_path / "trace.json"
    write(path)
    with pytest.raises(TraceError, match=sentence) as caught:
        read_trace(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    assert any(word in said for word in ("give", "export", "copy"))


@pytest.mark.parametrize("written", [bytes, gzip.compress])
def test_a_file_cut_short_anywhere_is_refused(tmp_path, written):
    path = exported.save(tmp_path / "trace.json", exported.operator("aten::add", 0, 1), exported.kernel(1, 1, 1))
    content = written(path.read_bytes())
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(TraceError):
            read_trace(path)
    path.write_bytes(content)
    assert len(read_trace(path).operators) == 1


def test_who_needs_a_device_says_so_of_a_trace_of_the_cpu_alone(tmp_path):
    path = tmp_path / "trace.json"
    trace = read_trace(exported.save(path, exported.operator("aten::add", 0, 1)))
    with pytest.raises(TraceError) as caught:
        trace.require_device_events()
    assert str(caught.value) == f"{path}: nothing in it ran on a GPU; record with ProfilerActivity.CPU and CUDA"
    read_trace(exported.save(path, exported.kernel(0, 1, 1))).require_device_events()


def test_a_trace_is_one_that_can_be_handed_on(tmp_path):
    trace = read_trace(exported.save(tmp_path / "trace.json", exported.operator("aten::add", 0, 1)))
    assert isinstance(trace, Trace)
    assert trace.devices == ()
    assert trace.recorded == b""
    assert trace.signatures == ()
