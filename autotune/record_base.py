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
