"""The page as a browser shows it: headless Chromium, skipped where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune.records import RunRecord
from autotune.reports.page.render import render
from profiles import detector_profile, nvml_series, timeline
from records import BF16, EVERY_KIND, ok, profiled, run_record, with_heats

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

Opened = Callable[..., Any]
# A window that shows nothing: no chart is drawn before it is asked for.
BLIND = "window.IntersectionObserver = class { observe() { document.documentElement.dataset.watched = 'yes'; } };"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        # The sandbox needs rights that containers do not have.
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Opened]:
    """Opens a record's page with all charts drawn; whatever the browser complained of, or asked for, fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_page(
        record: RunRecord,
        width: int = 1280,
        height: int = 800,
        scheme: str = "light",
        *,
        anchor: str = "",
        before: str = "",
        until: str = "html[data-drawn=all]",
    ) -> Any:
        file = tmp_path / "report.html"
        file.write_text(render(record), encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("data:", "blob:")) or request.url == file.as_uri()
                else complaints.append(f"asked for {request.url}")
            ),
        )
        page.add_init_script(before)
        page.goto(file.as_uri() + anchor)
        if page.locator(".chart").count():
            page.wait_for_selector(until, state="attached", timeout=120_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_of_run_opens_without_a_complaint(opened: Opened, kind: str) -> None:
    page = opened(EVERY_KIND[kind])
    for chart in page.locator(".chart").all():
        assert chart.locator(".main-svg").count(), chart.get_attribute("id")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_fits_its_window(opened: Opened, large: RunRecord, width: int, scheme: str) -> None:
    page = opened(large, width, 844, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".verdict").bounding_box()["y"] < 300
    assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 16


def test_the_heats_are_drawn_with_a_point_for_each_side_and_block(opened: Opened) -> None:
    page = opened(with_heats())
    points = page.evaluate("document.getElementById('heats').data.map((t) => t.x.filter((x) => x !== null).length)")
    assert points == [3, 5]
    playwright.expect(page.locator("#heats .points path")).to_have_count(8)


def test_what_weakens_the_verdict_is_seen_without_scrolling(opened: Opened) -> None:
    box = opened(EVERY_KIND["disturbed"]).locator(".caveats").bounding_box()
    assert box["y"] + box["height"] < 800


def test_the_roofline_has_a_point_for_each_layer_that_has_a_place(opened: Opened, large: RunRecord) -> None:
    page = opened(large)
    assert _points(page) == 3000
    playwright.expect(page.locator("#roofline .points path")).to_have_count(3000)


def test_layers_are_filtered_by_phase_and_module(opened: Opened) -> None:
    page = opened(profiled())
    layers = [layer for layer in profiled().profile.layers if layer.flops and layer.bytes]
    page.locator(".phase[value=backward]").uncheck()
    assert _points(page) == sum(layer.phase != "backward" for layer in layers)
    page.locator("#module").fill("backbone.body")
    assert _points(page) == sum(layer.phase != "backward" and "backbone.body" in layer.layer for layer in layers)
    page.locator("#roofline-section summary").click()
    playwright.expect(page.locator("#layers tbody tr")).to_have_count(3)


def test_shape_and_colour_both_tell_the_bound(opened: Opened) -> None:
    page = opened(profiled())
    markers = page.evaluate(
        "document.getElementById('roofline').data.filter((t) => t.mode === 'markers')"
        ".map((t) => [t.marker.symbol, t.marker.color])"
    )
    assert len({symbol for symbol, _ in markers}) == len({colour for _, colour in markers}) == len(markers) == 4


def test_the_device_is_shown_during_a_trial_on_demand(opened: Opened) -> None:
    trials = [ok(BF16, 100.0, timeline=timeline(watts=250.0))]
    page = opened(run_record(trials, profile=detector_profile(nvml=nvml_series())))
    power = "document.getElementById('nvml').data.find((trace) => trace.name === 'power, W').y[0]"
    assert page.evaluate(power) == 400.0
    page.locator("#watched").select_option(label=f"trial 1: {BF16.label()} (settings)")
    page.wait_for_function(f"{power} === 250")
    assert page.locator("#nvml .annotation-text", has_text="software power cap").count() == 1
    assert page.evaluate("document.getElementById('nvml').layout.shapes.length") == 1
    assert page.locator("#watched-notes li").all_inner_texts() == ["Clock events: idle, software power cap."]


def test_a_peak_has_three_digits_as_in_the_other_reports(opened: Opened) -> None:
    peaks = (0.6543, 6.543, 9.996, 139.8)
    page = opened(run_record([ok(BF16, 100.0, peak_memory_bytes=int(gib * 2**30)) for gib in peaks]))
    shown = page.locator("#trials tbody tr").all_inner_texts()
    assert [row.split("\t")[-2] for row in shown] == ["0.654", "6.54", "10.0", "139.8"]


def test_trials_are_sorted_and_searched_by_keyboard(opened: Opened) -> None:
    page = opened(profiled())
    head = page.locator("#trials th", has_text="images/s")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    speeds = [float(text) for text in page.locator("#trials tbody td:nth-child(6)").all_inner_texts() if text]
    assert speeds == sorted(speeds, reverse=True)
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    page.locator("#trials input").fill("sigsegv")
    playwright.expect(page.locator("#trials tbody tr")).to_have_count(1)


def test_the_config_is_copied_in_the_chosen_form(opened: Opened) -> None:
    page = opened(profiled())
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#example").select_option(label="Lightning")
    page.locator("#copy").click()
    page.locator("#copied", has_text="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert 'precision="bf16-mixed"' in copied
    assert copied == page.locator(".example.chosen").inner_text()
    playwright.expect(page.locator(".example:visible")).to_have_count(1)


def test_hostile_names_show_as_text(opened: Opened, hostile: RunRecord) -> None:
    page = opened(hostile)
    name = hostile.workload.model
    assert page.title() == f"autotune: {name} on {name}, effective batch 16"
    assert page.locator("h1").inner_text().count(name) == 2
    page.locator("#roofline-section summary").click()
    assert page.locator("#layers tbody td").first.inner_text() == f"backbone.{name}"
    page.evaluate(
        "Plotly.Fx.hover('roofline', [{curveNumber: document.getElementById('roofline').data"
        ".findIndex((t) => t.name.startsWith('memory')), pointNumber: 0}])"
    )
    # To the letter: Plotly shows tags that it does not know, and would take <b> for its own.
    assert f"backbone.{name}" in page.locator("#roofline .hoverlayer").text_content()
    assert page.locator("#by-module .slicetext", has_text="</script>").count() >= 1
    assert page.evaluate("window.broken") is None
    assert page.locator("img").count() == 0


def test_what_the_window_shows_is_drawn_first(opened: Opened) -> None:
    # The order in which charts get their drawing.
    watch = """
        window.order = [];
        new MutationObserver((changes) => changes.flatMap((change) => [...change.addedNodes]).forEach((node) => {
          const chart = node.closest?.(".chart");
          if (chart && node !== chart && !order.includes(chart.id)) order.push(chart.id);
        })).observe(document, {childList: true, subtree: true});
    """
    page = opened(profiled(), anchor="#search", before=watch)
    assert abs(page.locator("#search").bounding_box()["y"]) < 2, "the link leads there"
    order = page.evaluate("order")
    assert order[:5] == ["speed", "memory", "front", "race", "by-class"]
    assert sorted(order) == sorted(chart.get_attribute("id") for chart in page.locator(".chart").all())


def test_a_page_that_is_printed_at_once_has_all_its_charts(opened: Opened) -> None:
    page = opened(profiled(), before=BLIND, until="html[data-watched]")
    assert page.locator(".chart .main-svg").count() == 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for chart in page.locator(".chart").all():
        assert chart.locator(".main-svg").count(), chart.get_attribute("id")


@pytest.mark.parametrize("width", [1280, 390])
def test_no_legend_stands_in_an_axis(opened: Opened, width: int) -> None:
    page = opened(with_heats().model_copy(update={"profile": detector_profile()}), width)
    for chart in page.locator(".chart:has(.legend)").all():
        legend = chart.locator(".legend").bounding_box()
        labels = [label.bounding_box() for label in chart.locator(".xtick, .ytick, .xtitle, .ytitle").all()]
        assert labels
        assert not [label for label in labels if _overlap(label, legend)], chart.get_attribute("id")


def test_charts_that_are_drawn_later_move_nothing(opened: Opened) -> None:
    page = opened(profiled(), before=BLIND, until="html[data-watched]")
    before = page.locator("#measured").bounding_box()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#measured").bounding_box() == before


def test_a_dark_page_is_printed_light(opened: Opened) -> None:
    page = opened(profiled(), scheme="dark")
    colour = "document.getElementById('roofline').layout.font.color"
    dark = page.evaluate(colour)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(colour) != dark
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(colour) == dark


def test_the_charts_follow_the_colour_scheme(opened: Opened) -> None:
    page = opened(EVERY_KIND["faster"].model_copy(update={"profile": detector_profile()}))
    before = page.evaluate("document.getElementById('speed').layout.font.color")
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(500)
    assert page.evaluate("document.getElementById('speed').layout.font.color") != before


def test_a_turned_phone_shows_the_charts_apart(opened: Opened) -> None:
    page = opened(profiled(), 844, 390)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(1000)
    for chart in page.locator(".chart").all():
        assert chart.bounding_box()["height"] == chart.locator(".main-svg").first.bounding_box()["height"]


def _points(page: Any) -> int:
    """Points of the roofline's markers."""
    return page.evaluate(
        "document.getElementById('roofline').data.filter((t) => t.mode === 'markers')"
        ".reduce((sum, t) => sum + t.x.length, 0)"
    )


def _overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    """Whether two boxes have more than an edge in common."""
    sides = (("x", "width"), ("y", "height"))
    return all(min(one[at] + one[size], other[at] + other[size]) - max(one[at], other[at]) > 1 for at, size in sides)
