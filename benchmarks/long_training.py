"""python -m benchmarks.long_training --model NAME --limit-gb N [--voc DIR]: does what is recommended last?

Searches under a limit on memory, then trains the recommended config for 200 steps over the whole data set in a process
of its own under the same limit; and, as a control, the next larger batch of the same settings, where there is one. A
control that fits means that the margin was not needed here.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection

import torch
from tabulate import tabulate

from autotune.config import TrainingConfig
from autotune.probes.memory import limit_memory, peak_memory_bytes
from autotune.records import DataSpec, Job, ModelSpec, Outcome
from autotune.tuner.child import classify
from autotune.tuner.request import Request
from autotune.tuner.run import run
from autotune.workload.open import open_samples
from autotune.workload.prepare import SYNTHETIC_IMAGES, prepare
from autotune.workload.samples import Item, Samples
from autotune.workload.step import OptimizerStep

__all__ = ["outcome_of_training"]


def outcome_of_training(job: Job, config: TrainingConfig, steps: int) -> tuple[Outcome, str, int]:
    """Train so many optimizer steps over the whole data set, shuffled each epoch, in a process of its own under the
    job's memory limit: (what became of it, why, its peak memory in bytes)."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_train, args=(job, config, steps, theirs))
    process.start()
    theirs.close()
    try:
        answer: tuple[Outcome, str, int] = ours.recv()
    except EOFError:
        answer = Outcome.CRASHED, "the process ended", 0
    process.join()
    return answer


def _train(job: Job, config: TrainingConfig, steps: int, answer: Connection) -> None:
    outcome, detail = Outcome.OK, ""
    device = torch.device(job.device)
    try:
        torch.set_num_threads(job.threads or torch.get_num_threads())
        torch.set_flush_denormal(True)
        model = prepare(job).model
        samples = open_samples(job.data, count=max(SYNTHETIC_IMAGES, job.effective_batch), seed=job.seed)
        limit_memory(device, job.memory_limit_bytes)
        step = OptimizerStep(model, config, job, device)
        batches = _batches(samples, job.effective_batch, job.seed)
        for number in range(steps):
            step(next(batches), number)
    except Exception as error:  # noqa: BLE001, whatever ends it is what is asked for
        outcome, detail = classify(error)
    answer.send((outcome, detail, peak_memory_bytes(device)))


def _batches(samples: Samples, size: int, seed: int) -> Iterator[list[Item]]:
    dice = random.Random(seed)
    held: list[Item] = []
    while True:
        for index in dice.sample(range(len(samples)), len(samples)):
            held.append(samples.load(index))
            if len(held) == size:
                yield held
                held = []


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_training", description=__doc__)
    parser.add_argument("--model", default="ssdlite320_mobilenet")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--voc", help="a Pascal VOC folder; default: synthetic images")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--effective-batch", type=int, default=16)
    parser.add_argument("--limit-gb", type=float, required=True)
    parser.add_argument("--budget", type=float, default=180.0, help="of the search, in seconds")
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    record = run(
        Request(
            model=ModelSpec(name=options.model, image_size=options.image_size),
            data=DataSpec(kind="voc", root=options.voc) if options.voc else DataSpec(),
            device=options.device,
            effective_batch=options.effective_batch,
            memory_limit_bytes=int(options.limit_gb * 1e9),
            budget_s=options.budget,
        )
    )
    if record.recommendation is None or record.job is None:
        print(record.error or "nothing was recommended")
        return 1
    config = record.recommendation.config
    larger = config.batch_size * 2
    configs = [("recommended", config)]
    if record.job.effective_batch % larger == 0:
        configs.append(("twice the batch", config.at_batch_size(larger, record.job.effective_batch)))
    rows = []
    for name, each in configs:
        outcome, detail, peak_bytes = outcome_of_training(record.job, each, options.steps)
        rows.append((name, each.label(), outcome, f"{peak_bytes / 1e9:.2f}", detail[:60]))
    print(tabulate(rows, headers=("what", "config", f"after {options.steps} steps", "peak GB", "")))
    return 0 if rows[0][2] is Outcome.OK else 1


if __name__ == "__main__":
    sys.exit(main())
