from __future__ import annotations

import re

import pytest

from autotune.profile_record import Bound, Ceilings, Phase, Unmodelled
from autotune.reports import profile_terminal
from profiles import (
    EVERY_PROFILE,
    advised,
    detector_profile,
    from_a_trace,
    host_bound_profile,
    large_profile,
    layer,
    on_cpu,
    profile,
)


@pytest.fixture(params=EVERY_PROFILE)
def any_profile(request):
    return EVERY_PROFILE[request.param]


def one_line(text: str) -> str:
    """text with its line breaks undone, to find sentences in."""
    return " ".join(text.split())


def test_every_kind_of_profile_fits_into_120_columns(any_profile):
    text = profile_terminal.render(any_profile)
    assert max(map(len, text.splitlines())) <= 120
    assert any_profile.model in text
    assert not re.search(r"\bnan\b|\binf\b|None", text)
    assert "\n\n\n" not in text


def test_long_names_are_cut_in_the_table_and_broken_in_sentences():
    long = "a_module_of_a_name_that_no_terminal_holds" * 5
    of = detector_profile(
        model=long,
        layers=(layer(f"{long}.0", Phase.FORWARD, 5.0, Bound.COMMUNICATION), layer(f"{long}.1", Phase.BACKWARD, 4.0)),
        unmodelled=(Unmodelled(operator=long, time_ms=1.0),),
        notes=(long,),
    )
    assert max(map(len, profile_terminal.render(of).splitlines())) <= 120


def test_a_host_bound_step_is_said_first():
    first, second = profile_terminal.render(host_bound_profile()).splitlines()[:2]
    assert first == (
        "The step is mostly host-bound: the device waits for Python during 56% of it; no layer's bound matters "
        "until it does not."
    )
    assert second.startswith("frcnn_resnet50 with bf16 + channels_last, batch 16 on NVIDIA H200: 191.0 ms")


def test_a_step_that_is_not_host_bound_starts_with_its_time():
    text = profile_terminal.render(detector_profile())
    assert text.startswith("frcnn_resnet50 with bf16 + channels_last, batch 16 on NVIDIA H200: 100.0 ms a step.")
    assert "mostly host-bound" not in text


def test_the_distortion_by_the_profiler_is_said():
    assert (
        "Unprofiled, a step takes 100.0 ms (9 timed); profiled, 112.3 ms (mean of 3, on the same images): "
        "per-layer figures come from the profiled steps, which take 1.12x as long."
    ) in one_line(profile_terminal.render(detector_profile()))
    text = one_line(profile_terminal.render(from_a_trace()))
    assert "No unprofiled step was timed" in text
    assert "x as long" not in text


def test_the_classes_are_shares_of_the_step_the_largest_first():
    lines = [line.split() for line in profile_terminal.render(detector_profile()).split("\n\n")[2].splitlines()[2:]]
    assert lines[0] == ["compute", "46.50", "46.5%", "5"]
    assert lines[2] == ["latency", "13.30", "13.3%", "2"]
    assert lines[3] == ["host", "13.00", "13.0%", "1"]
    assert [line[0] for line in lines] == ["compute", "memory", "latency", "host", "unmodelled"]


def row(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.lstrip().startswith(start))


def test_a_layer_has_its_figures_with_si_units():
    text = profile_terminal.render(detector_profile())
    figures = row(text, "fpn.layer_blocks.0.0").partition("backward")[2]
    assert " ".join(figures.split()) == "11.00 11.0% compute 82% 31% 508 T 1.27 T 400 3 4.6"
    # 410.5 kernels that fill a third of the device, and 14 ms of waiting before them.
    assert row(text, "roi_heads").split()[-3:] == ["410", "0.3", "14.00"]


def test_a_layer_above_its_ceiling_is_flagged_at_the_ratio_and_explained():
    text = profile_terminal.render(detector_profile())
    flagged = [line for line in text.splitlines() if "%!" in line]
    assert [line.split()[:2] for line in flagged] == [["conv1", "forward"]]
    assert "12%  120%!" in flagged[0]
    assert "! 1 layer above 110% of a ceiling" in text
    without = profile_terminal.render(profile([layer("conv", Phase.FORWARD, 3.0)]))
    assert "!" not in without


def test_a_layer_of_fewer_multiplications_is_no_wrong_ceiling_and_explained():
    winograd = layer("conv", Phase.FORWARD, 5.0, compute_ms=8.0, memory_ms=1.0, fewer_multiplications=True)
    text = profile_terminal.render(profile([winograd]))
    assert "160%*" in text
    assert "* done with fewer multiplications than are counted (Winograd, FFT)" in text
    assert "!" not in text
    assert "*" not in profile_terminal.render(profile([layer("conv", Phase.FORWARD, 5.0)]))


def test_flagged_layers_without_a_row_are_counted():
    layers = [layer(f"m{n}", Phase.FORWARD, 10.0, memory_ms=12.0) for n in range(50)]
    text = profile_terminal.render(profile(layers))
    assert "! 50 layers, 40 of them shown, above 110% of a ceiling" in text
    hidden = [layer("m", Phase.FORWARD, 10.0), layer("n", Phase.FORWARD, 0.1, memory_ms=0.2)]
    assert "! 1 layer, none of them shown, above" in profile_terminal.render(profile(hidden))


def test_layers_whose_ratios_lie_together_are_called_balanced():
    text = profile_terminal.render(detector_profile())
    assert " balanced " in row(text, "layer1.0.conv2 ")
    assert "balanced: arithmetic and memory traffic" in text


def test_what_has_no_row_is_counted():
    text = profile_terminal.render(detector_profile())
    # 1.2 + 0.4 + 5.0 + 0.3 of 81.7 ms.
    assert "4 more layers took 6.90 ms, 8.4% of the busy time." in text


def test_a_large_profile_has_forty_layers_and_says_what_it_folds():
    text = profile_terminal.render(large_profile())
    assert len(re.findall(r"^ *\S+ +(?:forward|backward) ", text, flags=re.MULTILINE)) == 40
    assert "layers take 90% of the busy time; 40 of them have rows" in text
    assert "360 more layers took" in text


def test_unattributed_time_has_a_row():
    assert row(profile_terminal.render(detector_profile()), "(unattributed)").split()[2] == "0.10"


def test_columns_without_a_figure_are_left_out():
    text = profile_terminal.render(on_cpu())
    assert "waves" not in text
    assert "idle before" not in one_line(text)
    assert "No ceilings" in text


def test_every_piece_of_advice_shows_its_number():
    advice = tuple(
        advised(f"knob{n}", 1.1 + n, sentence=f"if {n}", speedup_at_same_share=1.0 + n / 10 if n else None)
        for n in range(4)
    )
    section = profile_terminal.render(detector_profile(advice=advice)).split("What could help:\n")[1].split("\n\n")[0]
    lines = one_line(section).split("- at most ")[1:]
    assert [line[:30] for line in lines] == [f"{1.1 + n:.2f}x from knob{n}=true (memory " for n in (3, 2, 1, 0)]
    assert "if 3; 1.30x where each layer keeps the share of its ceiling" in lines[0]
    assert lines[3] == "1.10x from knob0=true (memory 9.09 ms): if 0"


def test_the_five_largest_operators_without_a_cost_are_named_and_the_others_summed():
    text = profile_terminal.render(detector_profile())
    assert "torchvision::op4           0.081" in text
    assert "torchvision::op5" not in text
    assert re.search(r"^2 more +0\.061$", text, flags=re.MULTILINE)


def test_ceilings_have_value_spread_and_share_of_the_datasheet():
    text = profile_terminal.render(detector_profile())
    assert row(text, "matrix bf16").split() == ["matrix", "bf16", "695", "TFLOP/s", "1.4%", "70%"]
    assert row(text, "launch").split() == ["launch", "2.31", "us", "4.3%"]


def test_ceilings_of_a_datasheet_are_not_passed_off_as_measured():
    text = profile_terminal.render(from_a_trace())
    assert "not measured: the datasheet's" in text
    assert row(text, "copy").split() == ["copy", "4.80", "TB/s"]
    assert "No ceilings" in profile_terminal.render(detector_profile(ceilings=Ceilings(ceilings=())))


def test_notes_of_the_profile_and_of_the_ceilings_end_the_report():
    assert profile_terminal.render(detector_profile()).endswith(
        "Notes:\n- 2 of 5 steps were left out: their graphs differ\n- clocks were not locked"
    )


def test_a_name_cannot_move_the_cursor():
    text = profile_terminal.render(profile([layer("a\x1b[2Jb\nc", Phase.FORWARD, 1.0)]))
    assert "\x1b" not in text
    assert row(text, "a?[2Jb c")


def test_a_step_that_the_profiler_sped_up_was_measured_on_a_busy_machine():
    of = detector_profile(step_samples_ms=(240.0, 240.0), profiled_step_ms=(112.0, 112.0))
    assert "measured under different conditions" in one_line(profile_terminal.render(of))
    assert "different conditions" not in one_line(profile_terminal.render(detector_profile()))


def test_the_legends_explain_what_is_there():
    text = one_line(profile_terminal.render(detector_profile()))
    assert "layers for which that is longer than they worked count a second time, with what bounds their work." in text
    assert "unmodelled: layers most of whose time has no cost, or no known ceiling to hold it against." in text
    assert "FLOP/byte: its arithmetic intensity" in text
    bare = layer("a", Phase.FORWARD, 5.0, flops=0.0, bytes=0.0, compute_ms=0.0, memory_ms=0.0)
    text = one_line(profile_terminal.render(profile([bare], ceilings=None)))
    assert "FLOP/byte" not in text
    assert "compute, memory:" not in text


def test_the_rows_of_a_trace_without_layers_are_operators():
    text = profile_terminal.render(detector_profile(by_operator=True, advice=()))
    assert "operator" in row(text, "bound").split() + row(text, "operator").split()
    assert "layers" not in text
