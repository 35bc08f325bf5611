from __future__ import annotations

import pytest

from autotune.records import RunRecord
from records import EVERY_KIND


@pytest.fixture(params=EVERY_KIND)
def any_record(request: pytest.FixtureRequest) -> RunRecord:
    """Each kind of end that a run can have."""
    return EVERY_KIND[request.param]
