"""The command line: parse, call, print. Data goes to stdout, progress and errors to stderr.

Exit status: 0 done, 1 failed, 2 wrong use, 130 interrupted. AUTOTUNE_DEBUG=1 shows the traceback of an error.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from autotune import cli_options as options
from autotune.cli_output import close_stdout, fail, one_sentence, print_out
from autotune.cli_reports import compare, report
from autotune.cli_specs import data_spec, existing, model_spec
from autotune.errors import UsageError

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain help: loading rich for its frames would take longer than all the rest.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How to train a PyTorch object detector on this device, measured.",
)


def main() -> None:
    # What a batch system ends keeps and tells what it measured, as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except OSError as error:
        # Only the help comes here: what commands print has its own sentence.
        if os.environ.get("AUTOTUNE_DEBUG"):
            raise
        close_stdout()
        typer.echo(f"autotune: the standard output cannot be written ({error.strerror or error})", err=True)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        from autotune.probes.machine import installed_version

        with one_sentence():
            print_out(installed_version("detector-autotune"))
        raise typer.Exit


@app.command()
def run(
    model: Annotated[str, typer.Option(help="A detector's name (see `autotune models`) or package.module:factory.")],
    data: options.CocoFile = None,
    images: options.Images = None,
    voc: options.Voc = None,
    skip_bad: options.SkipBad = False,
    image_size: options.ImageSize = None,
    from_scratch: options.FromScratch = False,
    weights: options.Weights = None,
    effective_batch: options.EffectiveBatch = None,
    tuned_batch: Annotated[
        int | None, typer.Option(min=1, help="The effective batch that your learning rate was tuned at, if another.")
    ] = None,
    optimizer: options.Optimizer = "adamw",
    baseline: Annotated[Path | None, typer.Option(help="Your own training config (YAML) to compare with.")] = None,
    device: options.Device = None,
    objective: Annotated[
        Literal["throughput", "memory", "energy"],
        typer.Option(help="The fastest config, that of least memory within 2% of it, or of most images per joule."),
    ] = "throughput",
    knobs: Annotated[
        str | None,
        typer.Option(help="Try these too, on what leads: compile, optimizer, matmul_precision, with commas between."),
    ] = None,
    only: options.Only = None,
    budget: Annotated[
        str | None, typer.Option(help="Measuring time, as 90s or 5m. [default: 5m on a GPU, 3m on a CPU]")
    ] = None,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="The run directory. [default: autotune-runs/MODEL, numbered]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was killed.")] = False,
    force: options.Force = False,
    profile: Annotated[
        bool, typer.Option("--profile/--no-profile", help="First profile the baseline's step, outside the budget.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the run record as one JSON document.")] = False,
) -> None:
    """Measure how a detector trains here under different settings, and recommend a training config."""
    with one_sentence():
        from autotune.config import TrainingConfig, asked_knobs, asked_settings
        from autotune.durations import seconds
        from autotune.progress import watching
        from autotune.records import Status
        from autotune.reports import terminal
        from autotune.run_directory import RunDirectory, default_directory
        from autotune.tuner.objective import Objective
        from autotune.tuner.request import Request, checked_device
        from autotune.tuner.run import run as measure

        request = Request(
            model=model_spec(model, from_scratch, weights, image_size),
            data=data_spec(data, images, voc, skip_bad),
            device=checked_device(device),
            effective_batch=effective_batch,
            optimizer=optimizer,
            budget_s=seconds(budget) if budget is not None else None,
            baseline=TrainingConfig.load(baseline) if baseline else None,
            objective=Objective(objective),
            tuned_batch=tuned_batch,
            knobs=asked_knobs(knobs) if knobs is not None else (),
            only=asked_settings(only or ()),
            seed=seed,
            profile=profile,
            command=("autotune", *sys.argv[1:]),
        )
        if resume and force:
            raise UsageError("--resume goes on with a run and --force overwrites it; pass one of the two")
        directory = RunDirectory(out or default_directory(model, device, resume=resume), force=force, resume=resume)
        with watching() as watcher, directory.measuring():
            record = measure(
                request, journal_path=directory.journal_path, resume=resume, watch=watcher.watch, say=watcher.say
            )
        saved = None
        try:
            directory.save(record)
            saved = directory.path
        finally:
            # What was measured is printed also where the disk takes no more.
            print_out(record.to_json(computed=True) if json else terminal.render(record), saved)
        if not json:
            print_out(f"\n{directory.path}/: {', '.join(directory.files())}", directory.path)
        if record.status is Status.INTERRUPTED:
            again = [word for word in request.command if word not in ("--force", "--resume")]
            where = [] if out else ["--out", str(directory.path)]
            fail(f"interrupted; `{shlex.join([*again, *where, '--resume'])}` goes on from here", 130)
        if record.status is Status.FAILED:
            fail(record.error or "the run failed", 1)


@app.command()
def grid(
    model: Annotated[str, typer.Option(help="A detector's name (see `autotune models`) or package.module:factory.")],
    out: Annotated[Path, typer.Option(help="The file to write, as grid.json.gz.")],
    data: options.CocoFile = None,
    images: options.Images = None,
    voc: options.Voc = None,
    skip_bad: options.SkipBad = False,
    image_size: options.ImageSize = None,
    from_scratch: options.FromScratch = False,
    weights: options.Weights = None,
    effective_batch: options.EffectiveBatch = None,
    optimizer: options.Optimizer = "adamw",
    device: options.Device = None,
    knobs: Annotated[
        str | None,
        typer.Option(help="Every value of these too: compile, optimizer, matmul_precision, with commas between."),
    ] = None,
    only: options.Only = None,
    steps: Annotated[int, typer.Option(min=1, help="Timed optimizer steps of each config, at least.")] = 30,
    rounds: Annotated[int, typer.Option(min=1, help="Divide them among so many rounds, each in a new order.")] = 3,
    seed: options.Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Measure every config there is: what searches are replayed against. Ctrl-C keeps what was measured."""
    with one_sentence():
        from autotune.config import asked_knobs, asked_settings
        from autotune.files import check_place
        from autotune.progress import watching
        from autotune.tuner.grid import record_grid
        from autotune.tuner.request import Request, checked_device

        if not out.parent.is_dir():
            raise UsageError(f"{out.parent} is no folder; make it first")
        check_place(out, force=force)
        request = Request(
            model=model_spec(model, from_scratch, weights, image_size),
            data=data_spec(data, images, voc, skip_bad),
            device=checked_device(device),
            effective_batch=effective_batch,
            optimizer=optimizer,
            seed=seed,
            knobs=asked_knobs(knobs) if knobs is not None else (),
            only=asked_settings(only or ()),
            command=("autotune", *sys.argv[1:]),
        )
        with watching() as watcher:
            recorded = record_grid(request, steps, rounds, say=watcher.say)
        recorded.save(out)
        print_out(f"{out}: {recorded.summary}")
        if not recorded.complete:
            raise typer.Exit(130)


@app.command()
def profile(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option(help="A detector's name (see `autotune models`) or package.module:factory.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="A trace that torch.profiler exported, in place of --model.")
    ] = None,
    data: options.CocoFile = None,
    images: options.Images = None,
    voc: options.Voc = None,
    skip_bad: options.SkipBad = False,
    image_size: options.ImageSize = None,
    from_scratch: options.FromScratch = False,
    weights: options.Weights = None,
    effective_batch: options.EffectiveBatch = None,
    optimizer: options.Optimizer = "adamw",
    config: Annotated[
        Path | None, typer.Option(help="The training config (YAML) to profile. [default: PyTorch untuned]")
    ] = None,
    device: options.Device = None,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="The run directory. [default: autotune-runs/MODEL-profile, numbered]")
    ] = None,
    force: options.Force = False,
    json: Annotated[bool, typer.Option("--json", help="Print the profile as one JSON document.")] = False,
) -> None:
    """Say why a training step takes its time: each layer, forward, backward and update, and what bounds it."""
    with one_sentence():
        from autotune.config import TrainingConfig
        from autotune.progress import watching
        from autotune.reports import profile_terminal
        from autotune.run_directory import RunDirectory, default_directory
        from autotune.tuner.kept_profile import forget_recording
        from autotune.tuner.request import Request, checked_device
        from autotune.tuner.run import profile_run, trace_run

        if model is None and trace is None:
            raise UsageError("give --model to record a training step here, or --trace to analyse a recording")
        if model is not None and trace is not None:
            raise UsageError("--model records a training step and --trace analyses a recording; pass one of the two")
        if trace is not None and (others := _given(context, but=("trace", "out", "force", "json"))):
            raise UsageError(f"--trace analyses a recording as it is: leave out {', '.join(others)}, or give --model")
        directory = None
        if model is not None:
            request = Request(
                model=model_spec(model, from_scratch, weights, image_size),
                data=data_spec(data, images, voc, skip_bad),
                device=checked_device(device),
                effective_batch=effective_batch,
                optimizer=optimizer,
                baseline=TrainingConfig.load(config) if config else None,
                seed=seed,
                command=("autotune", *sys.argv[1:]),
            )
            directory = RunDirectory(
                out or default_directory(f"{model}-profile", device, resume=False), force=force, resumable=False
            )
            with watching() as watcher, directory.measuring():
                record = profile_run(request, directory=directory.path, say=watcher.say)
        else:
            assert trace is not None
            if Path(existing(trace)).is_dir():
                raise UsageError(f"{trace}: is a folder; pass the trace in it, as {trace / 'trace.json.gz'}")
            record = trace_run(trace, ("autotune", *sys.argv[1:]))
            directory = RunDirectory(out, force=force, resumable=False) if out else None
        assert record.profile is not None
        saved = None
        try:
            if directory:
                if trace is not None:
                    forget_recording(directory.path, unless=trace)
                directory.save(record)
                saved = directory.path
        finally:
            print_out(record.profile.to_json(computed=True) if json else profile_terminal.render(record.profile), saved)
        if directory and not json:
            print_out(f"\n{directory.path}/: {', '.join(directory.files())}", directory.path)


@app.command()
def models() -> None:
    """List the detectors: parameters, trainable ones, default input."""
    with one_sentence():
        from autotune.installation import check_installation

        check_installation()
        from tabulate import tabulate

        from autotune.detectors.build import describe
        from autotune.detectors.registry import DETECTORS

        rows = []
        for detector in DETECTORS:
            parameters, trainable, size = describe(detector.name)
            rows.append((detector.name, detector.torchvision_name, f"{parameters:,}", f"{trainable:,}", size))
        headers = ("name", "torchvision's name", "parameters", "trained", "default input (on a GPU)")
        print_out(tabulate(rows, headers, colalign=("left", "left", "right", "right", "left")))


@app.command()
def doctor() -> None:
    """Say whether this installation and this machine do, and what to mend."""
    with one_sentence():
        from autotune.installation import doctor as examine

        findings = examine()
        for finding in findings:
            print_out(f"{finding.state:<8} {finding.name}: {finding.sentence}")
        if any(finding.state == "problem" for finding in findings):
            raise typer.Exit(1)


app.command()(report)
app.command()(compare)


def _given(context: typer.Context, *, but: tuple[str, ...]) -> list[str]:
    """The options that stand on the command line, but those named."""
    found = []
    for option in context.command.params:
        source = context.get_parameter_source(option.name) if option.name else None
        if source is not None and source.name == "COMMANDLINE" and option.name not in but:
            found.append(option.opts[0])
    return found
