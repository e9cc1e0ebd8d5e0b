"""What all tests share: where the repository is, and how long hypothesis may think."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadlines: a shared machine stalls for reasons that are not ours, and no test here is about time.
settings.register_profile("dev", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("dev"), derandomize=True, print_blob=True)
# Tests are not of the machine that they run on: those of telemetry ask for it.
os.environ.setdefault("PROVML_TELEMETRY", "off")
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return Path(__file__).resolve().parent.parent
