"""What all tests share: where the repository is, how long hypothesis may think, and what runs beside what."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# No deadlines: a shared machine stalls for reasons that are not ours, and no test here is about time.
settings.register_profile("dev", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("dev"), derandomize=True, print_blob=True)
# Tests are not of the machine that they run on: those of telemetry ask for it.
os.environ.setdefault("PROVML_TELEMETRY", "off")
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a process whole modules, so that what a module prepares is made once, and one of them the cluster."""
    from xdist.scheduler import LoadFileScheduling

    class Modules(LoadFileScheduling):  # type: ignore[misc] # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            # These wait a lot, for a queue and for time limits, while the others have the cores.
            return "tests/slurm" if nodeid.startswith("tests/slurm/") else nodeid.partition("::")[0]

    return Modules(config, log)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return Path(__file__).resolve().parent.parent
