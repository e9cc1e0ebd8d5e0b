"""What the tests on the virtual cluster share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import INSTALL, Cluster, missing


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Return the virtual cluster, up; it stays up afterwards if it was before."""
    if missing() and not os.environ.get("CI"):  # CI installs what it needs, so there `up` fails instead
        pytest.skip(f"{', '.join(missing())} not found: {INSTALL}")
    cluster = Cluster()
    began = cluster.up()
    yield cluster
    if began:
        cluster.down()
