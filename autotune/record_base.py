"""What every record is.

A module of its own, so that records which the run record holds can stand in files of their own; all else imports
Record from autotune.records.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Record"]


class Record(BaseModel):
    """Frozen, and closed: an unknown field is an error, so that a typo cannot pass for data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self, *, computed: bool = False) -> str:
        """The record as JSON text; with computed=True the derived fields stand beside the raw ones."""
        return self.model_dump_json(indent=1, exclude_computed_fields=not computed)
