from __future__ import annotations

import gzip
import json
from decimal import Decimal
from itertools import pairwise
from statistics import median

import pytest

import exported
from autotune.errors import TraceError
from autotune.probes.traces import link, read_trace, steps_of
from exported import annotation, kernel, launch, operator


def read_steps(path):
    trace = read_trace(path)
    return steps_of(trace, link(trace))


def busy_us(intervals, start, end):
    """Time in which at least one interval is open, counted boundary by boundary."""
    boundaries = sorted({start, end, *(min(max(at, start), end) for interval in intervals for at in interval)})
    deltas = dict.fromkeys(boundaries, 0)
    for begins, ends in intervals:
        deltas[min(max(begins, start), end)] += 1
        deltas[min(max(ends, start), end)] -= 1
    busy, running = 0, 0
    for at, until in pairwise(boundaries):
        running += deltas[at]
        busy += until - at if running else 0
    return busy


def test_steps_of_a_real_training_agree_with_an_independent_count(traces):
    path = traces / "v100_convnet_training.json.gz"
    steps = read_steps(path)
    assert [step.name for step in steps] == [f"ProfilerStep#{number}" for number in range(101, 106)]
    assert median(step.step_ms for step in steps) == pytest.approx(96, abs=0.5)

    with gzip.open(path) as file:
        # As floats the times are off by up to 0.25 us each, which moves the idle time of a step by 0.4%.
        content = json.load(file, parse_float=Decimal)
    events = [event for event in content["traceEvents"] if event["ph"] == "X"]
    ranges = sorted(event["ts"] for event in events if event["name"].startswith("ProfilerStep#"))
    called = {event["args"]["correlation"]: event["ts"] for event in events if event["cat"] == "cuda_runtime"}
    device = [event for event in events if event["cat"] in ("kernel", "gpu_memcpy", "gpu_memset")]
    firsts = [
        min(event["ts"] for event in device if opens <= called[event["args"]["correlation"]] < closes)
        for opens, closes in zip(ranges, [*ranges[1:], float("inf")], strict=True)
    ]
    intervals = [(event["ts"], event["ts"] + event["dur"]) for event in device]
    for step, start, end in zip(steps, firsts, [*firsts[1:], max(end for _, end in intervals)], strict=True):
        busy = busy_us(intervals, start, end)
        assert step.busy_ns == pytest.approx(float(busy) * 1e3, rel=1e-3)
        assert step.idle_ns == pytest.approx(float(end - start - busy) * 1e3, rel=1e-3)


def test_steps_of_a_real_inference(traces):
    (step,) = read_steps(traces / "h100_owlv2_inference.json.gz")
    assert step.name == "ProfilerStep#6"
    assert 0 < step.busy_ns < step.step_ms * 1e6


def test_a_step_lasts_from_its_first_event_on_the_device_to_the_next_ones(tmp_path):
    path = exported.save(
        tmp_path / "trace.json",
        annotation("ProfilerStep#1", 0, 10),
        annotation("ProfilerStep#2", 10, 10),
        annotation("ProfilerStep#3", 20, 10),
        annotation("ProfilerStep#4", 30, 10),
        annotation("ProfilerStep#5", 40, 1),  # nothing ran in it: the profiler opens one more after the last
        *(operator("aten::add", start, 5) for start in (1, 12, 21, 31)),
        *(launch(start, number) for number, start in enumerate([1, 2, 3, 12, 31, 50], 1)),
        kernel(100, 10, 1),
        kernel(105, 10, 2, stream=8),  # overlaps, then a gap of 5
        kernel(120, 40, 3, stream=8),  # runs into the second step
        kernel(150, 20, 4),
        kernel(200, 30, 5),
        kernel(300, 30, 6),  # launched after the last step
    )
    steps = read_steps(path)
    assert [(step.start_ns, step.end_ns) for step in steps] == [
        (100_000, 150_000),
        (150_000, 200_000),
        (200_000, 230_000),  # the third launched nothing, and is none
    ]
    assert [step.busy_ns for step in steps] == [45_000, 20_000, 30_000]
    assert [step.idle_ns for step in steps] == [5_000, 30_000, 0]
    host = [(step.host_start_ns, step.host_end_ns) for step in steps]
    assert host == [(0, 10_000), (10_000, 20_000), (30_000, 40_000)]
    assert not any(step.is_whole_trace for step in steps)


def test_a_step_that_only_launches_is_one(tmp_path):
    path = exported.save(
        tmp_path / "trace.json",
        annotation("ProfilerStep#1", 0, 10),
        annotation("ProfilerStep#2", 10, 10),
        operator("aten::add", 1, 5),
        launch(1, 1),
        launch(12, 2, name="cudaGraphLaunch"),
        kernel(20, 5, 1),
        kernel(30, 5, 2),
    )
    assert [step.busy_ns for step in read_steps(path)] == [5_000, 5_000]


def test_steps_of_a_cpu_trace_are_the_hosts_ranges_without_busy_time(tmp_path):
    path = exported.save(tmp_path / "trace.json", annotation("ProfilerStep#0", 5, 10), operator("aten::add", 6, 1))
    (step,) = read_steps(path)
    assert (step.step_ms, step.busy_ns, step.idle_ns) == (0.01, None, None)
    assert (step.host_start_ns, step.host_end_ns) == (step.start_ns, step.end_ns) == (5_000, 15_000)


def test_a_trace_without_steps_is_one_step(tmp_path):
    host = [operator("aten::mul", 12, 8), operator("aten::add", 10, 1)]
    device = [launch(13, 1), kernel(30, 5, 1), kernel(40, 5, 99)]
    (step,) = read_steps(exported.save(tmp_path / "cpu.json", *host))
    assert (step.start_ns, step.end_ns, step.busy_ns) == (10_000, 20_000, None)
    assert (step.name, step.is_whole_trace) == ("whole trace", True)
    (step,) = read_steps(exported.save(tmp_path / "cuda.json", *host, *device))
    assert (step.start_ns, step.end_ns, step.busy_ns) == (30_000, 45_000, 10_000)
    assert (step.host_start_ns, step.host_end_ns, step.is_whole_trace) == (10_000, 20_000, True)


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([kernel(10, 1, 1)], "0 steps and 0 operators; record with"),
        (
            [annotation("ProfilerStep#1", 0, 9), operator("aten::add", 20, 1), launch(1, 1), kernel(10, 1, 1)],
            "no operator ran in its steps (1 of them); record with",
        ),
        (
            [annotation("ProfilerStep#1", 0, 9), operator("aten::add", 0, 1), kernel(10, 1, 1)],
            "no device event was launched in a step; record with",
        ),
        ([annotation("ProfilerStep#1", 5, 0), operator("aten::add", 5, 0)], "no operator ran in its steps (1 of them)"),
        ([operator("aten::add", 5, 0)], "its steps took no time; record"),
    ],
)
def test_a_trace_that_has_no_steps_is_one_sentence_that_names_it(tmp_path, events, sentence):
    path = exported.save(tmp_path / "trace.json", *events)
    with pytest.raises(TraceError) as caught:
        read_steps(path)
    assert str(caught.value).startswith(f"{path}: {sentence}")


def test_a_real_trace_without_steps_is_one_step(traces):
    (step,) = read_steps(traces / "a100_alexnet_cupti_counters.json.gz")
    assert step.is_whole_trace
    assert step.step_ms > 0
