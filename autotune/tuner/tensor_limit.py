"""Batch sizes at which a tensor would have more elements than 32-bit indices reach: many CUDA kernels have no others,
and fail there, fall back to slow code, or compute nonsense."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.records import Trial

__all__ = ["TensorLimit"]

_ELEMENTS_AT_MOST = 2**31 - 1
# A first layer may give so many times the elements of its input: VGG's gives 21 times as many.
_GROWTH = 24


class TensorLimit:
    """input_elements: of the largest image as the detector takes it, None where that is not known."""

    def __init__(self, input_elements: int | None) -> None:
        self.elements_an_image = float(input_elements or 0)
        self._of = "the input"

    def take(self, trial: Trial) -> None:
        """Learn from a trial that watched its tensors: they grow with the batch."""
        seen = (trial.largest_tensor_elements or 0) / trial.config.batch_size
        if seen > self.elements_an_image:
            self.elements_an_image, self._of = seen, "the largest activation"

    def allows(self, batch_size: int) -> bool:
        return batch_size * self.elements_an_image <= _ELEMENTS_AT_MOST

    def may_matter(self, batch_size: int) -> bool:
        """Whether a layer might reach the limit at that batch, by what is known of the input."""
        return not self.allows(_GROWTH * batch_size)

    def why_not(self, beyond: Sequence[int]) -> str:
        """Why these batch sizes are not tried."""
        elements = min(beyond) * self.elements_an_image
        return (
            f"batch_size: {', '.join(map(str, sorted(beyond)))} not tried: at {min(beyond)} {self._of} would have "
            f"{elements:.3g} elements, and many CUDA kernels index no more than 2^31 - 1"
        )
