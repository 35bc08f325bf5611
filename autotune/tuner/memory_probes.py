"""What cells take of the memory, probed at small batches where a large one might not fit; the sizes that are left."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autotune.config import TrainingConfig
from autotune.records import Trial
from autotune.tuner.cell import Cell
from autotune.tuner.memory_fit import MemoryFit
from autotune.tuner.space import Space
from autotune.tuner.tensor_limit import TensorLimit

__all__ = ["MemoryProbes"]

# Where the baseline, scaled to the largest batch, would take less than this share of it, no cell is near the limit.
_FAR_FROM_LIMIT = 0.5
# Batch sizes at which a cell's memory is probed, where the effective batch has them; how many in all, with those that
# fail.
_PROBED = (2, 8)
_PROBES_AT_MOST = 3


class MemoryProbes:
    """limit_bytes: what a recommended config may take, None where there is no limit. input_elements: of the largest
    image as the detector takes it. measure: what a cell's config takes on the worst case; None where the budget has no
    room for it.

    sizes: the batch sizes of the search, from the baseline on.
    """

    def __init__(
        self,
        space: Space,
        limit_bytes: float | None,
        input_elements: int | None,
        measure: Callable[[Cell, TrainingConfig], Trial | None],
    ) -> None:
        self.limit_bytes = limit_bytes
        self.sizes: list[int] = []
        self.notes: list[str] = []
        self._space = space
        self._measure = measure
        self._tensors = TensorLimit(input_elements)
        self._probed: list[Cell] = []  # ahead of their turn, for others

    def baseline_sizes(self, own_cell: Cell) -> list[int]:
        """The batch sizes that the baseline may have, its tensors watched first where they might be too large."""
        sizes = [config.batch_size for config in self._space.baselines()]
        if self._tensors.may_matter(sizes[0]):
            self.probe(own_cell, below=sizes[0])
        return list(filter(self._tensors.allows, sizes))

    def begin(self, baseline: Trial) -> None:
        """With the baseline, which has run at its batch."""
        self._baseline = baseline
        self.sizes = [config.batch_size for config in self._space.ladder(baseline.config)]
        self._leave_out_what_cannot_be_indexed()

    @property
    def near_the_limit(self) -> bool:
        """Whether any batch might not fit: no cell takes twice what the baseline takes."""
        peak = self._baseline.peak_memory_bytes
        if self.limit_bytes is None or peak is None:
            return False
        return peak * self.sizes[0] / self._baseline.config.batch_size > _FAR_FROM_LIMIT * self.limit_bytes

    def learn(self, cell: Cell, screened: Sequence[Cell], waiting: Sequence[Cell]) -> None:
        """Find out what a cell takes: from another where one is known that takes about the same, else by probes.
        screened: the baseline's and those that were; waiting: the others, itself among them."""
        cell.memory.like = self._likest(cell, screened) or self._plainest(cell, [*waiting, *screened])
        if cell.memory.like is None:
            self.probe(cell, below=self.sizes[0] + 1)
        self._leave_out_what_cannot_be_indexed()

    def probe(self, cell: Cell, below: int) -> None:
        """Learn what a cell takes at two small batches."""
        while (size := self._next_size(cell, below)) is not None:
            trial = self._measure(cell, cell.settings.at_batch_size(size, self._space.where.effective_batch))
            # The first probe may have shown how slowly the cell starts.
            if trial is None:
                return
            cell.take(trial)
            self._tensors.take(trial)

    def _next_size(self, cell: Cell, below: int) -> int | None:
        """The batch size that is to be probed next: the smallest of all where one is too large, the next larger where
        one failed otherwise, since it may be too small to train on. Each is probed once. None where no more is needed
        or left."""
        if len(cell.memory.peaks) >= len(_PROBED) or len(cell.probed) >= _PROBES_AT_MOST:
            return None
        sizes = sorted(config.batch_size for config in self._space.ladder(self._space.baseline))
        # 0 has failed where a probe did not end.
        limit = min({below, *cell.memory.failed})
        failed = cell.probed - cell.memory.peaks.keys()
        for wanted in (*_PROBED, 1):
            nearest = min(sizes, key=lambda size: (abs(size - wanted), size))
            size = next((each for each in sizes if each >= nearest and each not in failed), limit)
            if size < limit and size not in cell.memory.peaks:
                return size
        return None

    def _likest(self, cell: Cell, screened: Sequence[Cell]) -> MemoryFit | None:
        """The memory of the known cell that shares most settings with this one, of those whose activations are as
        wide: what is predicted from it is verified as any prediction is, and saves two probes a cell."""
        known = [
            each for each in [*screened, *self._probed] if len(each.memory.peaks) > 1 and each.is_half == cell.is_half
        ]
        return max(known, key=cell.settings_shared_with).memory if known else None

    def _plainest(self, cell: Cell, others: Sequence[Cell]) -> MemoryFit | None:
        """The memory, now probed, of the cell that shares most settings with the baseline, of those that are tried in
        the same precision: it starts as the baseline does, where others may compile kernels for each probe."""
        own = Cell(self._baseline.config)
        alike = [each for each in others if each.settings.precision == cell.settings.precision]
        plain = max(alike, key=own.settings_shared_with)
        self.probe(plain, below=self.sizes[0] + 1)
        self._probed.append(plain)
        return plain.memory if plain is not cell and plain.memory.peaks else None

    def _leave_out_what_cannot_be_indexed(self) -> None:
        """Batch sizes whose tensors are too large; not the baseline's, which has run."""
        own = self._baseline.config.batch_size
        beyond = [size for size in self.sizes if size > own and not self._tensors.allows(size)]
        if beyond:
            self.sizes = [size for size in self.sizes if size not in beyond]
            self.notes.append(self._tensors.why_not(beyond))
