"""How long reports take to draw, and a large page to open in Chromium.

Run by hand, on a quiet machine: python -m benchmarks.reports [ROUNDS]. Prints medians with the range; see
benchmarks/README.md.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from tabulate import tabulate

ROUNDS = 5
TESTS = Path(__file__).parents[1] / "tests"
FORMATS = ("terminal", "md", "html", "csv", "json")
# What charts.js says of itself, with when it first said so.
_WATCH = """
window.saidMs = {};
new MutationObserver(() => {
  const {drawn} = document.documentElement.dataset;
  if (drawn && !(drawn in saidMs)) saidMs[drawn] = performance.now();
}).observe(document, {attributes: true, subtree: true, attributeFilter: ["data-drawn"]});
"""
_TIMES = """() => ({
  "the verdict is painted": performance.getEntriesByName("first-contentful-paint")[0].startTime,
  "the page is loaded": performance.getEntriesByType("navigation")[0].loadEventEnd,
  "the charts in the window are drawn": saidMs.visible,
  "all charts are drawn": saidMs.all,
})"""


def drawing_s(rounds: int, out: Path) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """(wall, CPU) time of `autotune report` as a whole process, for each recorded run and format, in turn."""
    runs = sorted(file.parent for file in (TESTS / "data" / "runs").glob("*/run.json"))
    found: dict[tuple[str, str], list[tuple[float, float]]] = {(run.name, form): [] for run in runs for form in FORMATS}
    for _ in range(rounds):
        for run in runs:
            for form in FORMATS:
                began_s, began_cpu_s = time.perf_counter(), _children_cpu_s()
                _draw(run, form, out / "report")
                found[run.name, form].append((time.perf_counter() - began_s, _children_cpu_s() - began_cpu_s))
    return found


def large_page(out: Path) -> Path:
    """The page of a record of 3,000 layers and 500 trials."""
    sys.path.append(str(TESTS))
    from records import large

    run = out / "large"
    run.mkdir()
    (run / "run.json").write_text(large().to_json(), encoding="utf-8")
    return _draw(run, "html", out / "large.html")


def opening_ms(page: Path, rounds: int) -> dict[str, list[float]]:
    """From navigation to what a reader waits for, in a window of 1280 x 800; a fresh profile each time."""
    from playwright.sync_api import sync_playwright

    found: dict[str, list[float]] = {}
    with sync_playwright() as driver:
        # The sandbox needs rights that containers do not have.
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(rounds):
            for name, ms in _opened_ms(browser, page).items():
                found.setdefault(name, []).append(ms)
        browser.close()
    return found


def _opened_ms(browser: Any, page: Path) -> dict[str, float]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    tab = context.new_page()
    tab.add_init_script(_WATCH)
    counters = context.new_cdp_session(tab)
    counters.send("Performance.enable", {"timeDomain": "threadTicks"})
    tab.goto(page.as_uri())
    tab.wait_for_selector("html[data-drawn=all]", state="attached", timeout=120_000)
    times: dict[str, float] = tab.evaluate(_TIMES)
    metrics = {each["name"]: each["value"] for each in counters.send("Performance.getMetrics")["metrics"]}
    context.close()
    return {**times, "CPU time of the page's thread": 1e3 * metrics["TaskDuration"]}


def _draw(run: Path, form: str, file: Path) -> Path:
    command = [sys.executable, "-m", "autotune", "report", run, "--format", form, "--out", file, "--force"]
    subprocess.run(command, check=True, capture_output=True)
    return file


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _spread(samples: list[float]) -> str:
    return f"{median(samples):.2f} s ({min(samples):.2f} to {max(samples):.2f})"


def main() -> None:
    rounds = int(sys.argv[1]) if sys.argv[1:] else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        times = drawing_s(rounds, Path(folder))
        runs = dict.fromkeys(run for run, _ in times)
        for kind, name in enumerate(("wall time", "CPU time")):
            print(f"\n{name} of the whole process")
            rows = [
                [run, *(_spread([sample[kind] for sample in times[run, form]]) for form in FORMATS)] for run in runs
            ]
            print(tabulate(rows, ("run", *FORMATS), tablefmt="github"))
        page = large_page(Path(folder))
        print(f"\n3,000 layers and 500 trials: {page.stat().st_size / 1e6:.1f} MB")
        opened = opening_ms(page, rounds)
        print(
            tabulate(
                [[name, _spread([ms / 1e3 for ms in samples])] for name, samples in opened.items()],
                ("until", "time"),
                tablefmt="github",
            )
        )


if __name__ == "__main__":
    main()
