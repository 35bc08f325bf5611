"""report.html: the whole report in one file, from the record alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from autotune.profile_record import Profile
from autotune.records import Outcome, RunRecord
from autotune.reports import knob_sentences, profile_sentences, sentences
from autotune.reports.caveats import caveats
from autotune.reports.frameworks import examples
from autotune.reports.layer_tree import module_path
from autotune.reports.page import layers, modules, nvml_lines, race, search
from autotune.reports.page.embedding import embedded
from autotune.reports.page.fixes import first_to_fix
from autotune.reports.page.roofline import roofline
from autotune.reports.plain import printable
from autotune.reports.profile_caveats import profile_caveats, weakened

__all__ = ["chart_data", "environment", "render", "unwrapped"]

_TEMPLATES = Path(__file__).parent / "templates"
_WRAPPED = re.compile(
    r"(?P<licence>/\*\*.*?\*/\n)"
    r"\(\s*function\(root, factory\) \{.*?\(typeof self !== \"undefined\" \? self : this, \(\) => \{"
    r"(?P<plotly>\s*\"use strict\";\s*var Plotly=.*)window\.Plotly = Plotly;\s*return Plotly;\s*\}\)\);\s*",
    re.DOTALL,
)


def render(record: RunRecord) -> str:
    """The report as one HTML page that fetches nothing."""
    data = chart_data(record)
    # A page without charts does without five megabytes of Plotly.
    charts = any(data.get(name) for name in ("layers", "measured", "nvml"))
    return environment().get_template("page.html").render(_context(record, data, charts=charts))


@cache
def environment() -> Environment:
    """Templates whose every value is escaped, and made printable; a name that is not there is an error."""
    return Environment(
        loader=PackageLoader("autotune.reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def chart_data(record: RunRecord) -> dict[str, Any]:
    """What the page's scripts draw from; parts that the record has nothing for are absent."""
    data: dict[str, Any] = {}
    if record.profile and record.profile.layers:
        data |= _profile_data(record.profile)
    if record.trials:
        data |= {
            "measured": search.measured(record),
            "memory_limit_gib": search.memory_limit_gib(record),
            "race": race.race(record),
            "heats": race.heats(record),
            "trials": {"columns": search.TRIAL_COLUMNS, "rows": search.trial_rows(record)},
        }
    if watched := nvml_lines.watched(record):
        data["nvml"] = watched
    return data


def _profile_data(profile: Profile) -> dict[str, Any]:
    return {
        "layers": {"columns": layers.COLUMNS, "rows": layers.layer_rows(profile)},
        "roofline": roofline(profile),
        "by_module": modules.by_module(profile),
        "by_class": modules.by_class(profile),
        "by_phase": modules.by_phase(profile),
    }


def _context(record: RunRecord, data: dict[str, Any], *, charts: bool) -> dict[str, Any]:
    profile = record.profile if record.profile and record.profile.layers else None
    return {
        "title": printable(sentences.title(record)),
        "headline": printable(sentences.headline(record)),
        "advice": printable(sentences.advice(record) or ""),
        "caveats": _printable(_caveats(record)),
        "examples": _examples(record),
        "machine": _pairs(sentences.machine(record)),
        "sections": list(_sections(record, data)),
        "profile": _profile_words(record, profile) if profile else None,
        "fixes": first_to_fix(profile) if profile else [],
        "phases": list(dict.fromkeys(layer.phase for layer in profile.layers)) if profile else [],
        "modules": list(dict.fromkeys(module_path(layer.layer)[0] for layer in profile.layers)) if profile else [],
        "roofline_note": data["roofline"].note if profile else "",
        "search": "measured" in data,
        "raced": data.get("race") is not None,
        "heats": data.get("heats") is not None,
        "failures": _printable(sentences.failures(record)),
        "left_out": _printable(sentences.left_out(record)),
        "watched": data.get("nvml", []),
        "measured": _pairs([*sentences.measured(record), *_counts(record)]),
        "notes": _printable(_notes(record)),
        "data": embedded(data),
        "charts": charts,
        **_scripts(charts=charts),
    }


def _examples(record: RunRecord) -> list[Any]:
    if record.recommendation is None:
        return []
    device = record.machine.device_type if record.machine else record.job.device if record.job else "cuda"
    return examples(record.recommendation.config, device.partition(":")[0])


def _sections(record: RunRecord, data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(anchor, name) of what the page has."""
    yield "verdict", "Verdict" if record.is_search else "Profile"
    if "layers" in data:
        yield "step", "Where the step goes"
        yield "roofline-section", "Roofline"
    if "measured" in data:
        yield "search", "The search"
    if "nvml" in data:
        yield "device", "The device"
    yield "measured", "How it was measured"


def _profile_words(record: RunRecord, profile: Profile) -> dict[str, list[str]]:
    said = (
        profile_sentences.host_bound(profile),
        # A profile alone has it for a verdict.
        profile_sentences.headline(profile) if record.is_search else None,
        profile_sentences.timing(profile),
        profile_sentences.occupancy(profile),
        weakened(profile) if record.is_search else None,
    )
    return {
        "sentences": _printable([sentence for sentence in said if sentence]),
        "advice": _printable(profile_sentences.advice(profile)),
    }


def _counts(record: RunRecord) -> Iterator[tuple[str, str]]:
    """How many samples the figures rest on."""
    if record.trials:
        timed = [trial for trial in record.trials if trial.outcome is Outcome.OK]
        steps = sum(len(trial.step_ms) for trial in timed)
        in_race = sum(trial.stage.is_race for trial in timed)
        yield "samples", f"{steps} timed steps in {len(timed)} of {len(record.trials)} trials, {in_race} in the race"
    if record.profile:
        profiled, unprofiled = len(record.profile.profiled_step_ms), len(record.profile.step_samples_ms)
        yield "profile", f"{profiled} profiled steps, {unprofiled} unprofiled ones"


def _caveats(record: RunRecord) -> list[str]:
    """What weakens the verdict, or a profile alone."""
    alone = profile_caveats(record.profile) if record.profile and not record.is_search else []
    return [*caveats(record), *alone]


def _notes(record: RunRecord) -> list[str]:
    own = list(record.workload.notes) if record.workload else []
    own += knob_sentences.compiled(record)
    return own + (profile_sentences.notes(record.profile) if record.profile else [])


def _printable(lines: list[str]) -> list[str]:
    return [printable(line) for line in lines]


def _pairs(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, printable(value)) for name, value in rows]


def _scripts(*, charts: bool) -> dict[str, Markup]:
    """Our own files and Plotly's, which are no text from outside."""
    own = {name: (_TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js", "charts.js")}
    return {
        "css": Markup(own["page.css"]),
        "page_js": Markup(own["page.js"]),
        "charts_js": Markup(own["charts.js"]),
        "plotly_js": Markup(_plotly()) if charts else Markup(""),
    }


def _plotly() -> str:
    """Plotly's script as its package carries it, found without importing the package, which would take a second."""
    spec = find_spec("plotly")
    assert spec is not None
    assert spec.submodule_search_locations
    file = Path(spec.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    return unwrapped(file.read_text(encoding="utf-8"))


def unwrapped(script: str) -> str:
    """Plotly's script without its wrapper for module loaders, where that is the one we know: a browser reads a function
    that is an argument twice, and five megabytes for a good part of the time that the script takes."""
    wrapped = _WRAPPED.fullmatch(script)
    return wrapped["licence"] + wrapped["plotly"] if wrapped else script
