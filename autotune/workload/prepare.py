"""A job made ready to run: the detector built, the images chosen and decoded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from autotune.detectors.build import build
from autotune.records import Job, WorkloadFacts
from autotune.workload.open import open_samples
from autotune.workload.pool import Pool, make_pool

__all__ = ["Prepared", "prepare"]

# Synthetic images to draw from: enough for the spread of sizes, and for a worst case that deserves its name.
SYNTHETIC_IMAGES = 1000


@dataclass(frozen=True)
class Prepared:
    """What the children of a trial server share."""

    job: Job
    model: torch.nn.Module
    pool: Pool
    facts: WorkloadFacts


def prepare(job: Job) -> Prepared:
    """Build the job's model on the CPU and decode the images that its trials replay.

    Raises UsageError for names and paths that do not exist, DataError for data that does not do.
    """
    samples = open_samples(job.data, count=max(SYNTHETIC_IMAGES, job.effective_batch), seed=job.seed)
    device_type = torch.device(job.device).type
    built = build(job.model, device_type=device_type, num_classes=samples.categories + 1, seed=job.seed)
    skipped = samples.skipped
    pool = make_pool(
        samples,
        effective_batch=job.effective_batch,
        resized=built.resized,
        needs_masks=built.needs_masks,
        needs_keypoints=built.needs_keypoints,
        seed=job.seed,
    )
    facts = WorkloadFacts(
        model=built.name,
        parameters=built.parameters,
        trainable_parameters=built.trainable_parameters,
        input=built.input,
        data=samples.description,
        # Less those that turned out, when they were decoded, to be bad.
        images=len(samples) - (samples.skipped - skipped),
        skipped=samples.skipped,
        categories=samples.categories,
        mean_boxes=pool.mean_boxes,
        images_in_turn=pool.images,
        input_elements=pool.input_elements,
        input_sizes=pool.input_sizes,
        notes=(*built.notes, *_batch_norm_note(built.model)),
    )
    return Prepared(job, built.model, pool, facts)


def _batch_norm_note(model: torch.nn.Module) -> tuple[str, ...]:
    live = sum(isinstance(module, _BatchNorm) and module.training for module in model.modules())
    if not live:
        return ()
    note = (
        f"{live} batch norm layers are live: they see one micro-batch of batch_size images, so accumulation over "
        "smaller batches trains differently, though the optimizer sees the same effective batch."
    )
    return (note,)
