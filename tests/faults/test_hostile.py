"""Files that somebody spoiled, by accident or on purpose: clean errors only. ``tests.faults.hostile`` does more."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults import hostile


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with what is spoiled."""
    root = tmp_path_factory.mktemp("hostile")
    hostile.make(root / "origin")
    yield root / "origin"
    shutil.rmtree(root)


def test_what_is_spoiled_is_fine_before(origin: Path, tmp_path: Path) -> None:
    for name in ("left", "closed"):
        shutil.copytree(origin / name, tmp_path / name)
        assert hostile.face(tmp_path / name / "job.h5") == "fine"


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_spoiled_journals(origin: Path, tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    folder = tmp_path_factory.mktemp("one")
    assert hostile.face(hostile.spoil(origin, folder / "job", "journal", seed)) in ("fine", "FormatError")
    assert [path.name for path in folder.iterdir()] == ["job"]
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["journal", "partial"])
def test_spoiled_leftovers_in_a_child_with_limits(kind: str, origin: Path) -> None:
    outcomes, faults, _ = hostile.face_all(origin, kind, 40)
    assert faults == []
    assert outcomes["fine"] > 0
    assert kind == "journal" or outcomes["FormatError"] > 0  # what is left of a journal is always good for something


def test_spoiled_closed_files_in_a_child_with_limits(origin: Path) -> None:
    """The HDF5 library itself may not come back from one, so that is the child's limit and not ours."""
    outcomes, faults, _ = hostile.face_all(origin, "closed", 40)
    assert [fault for fault in faults if not fault.endswith("took too long")] == []
    assert outcomes["fine"] > 0
    assert outcomes["FormatError"] > 0


def test_a_journal_that_claims_to_be_huge_takes_no_memory(origin: Path, tmp_path: Path) -> None:
    shutil.copytree(origin / "left", tmp_path / "left")
    journal = next((tmp_path / "left").glob(".*.provml/*-l0-s000.journal"))
    with journal.open("r+b") as file:
        file.truncate(1 << 40)
        file.seek(8)
        file.write((1 << 40).to_bytes(8, "little"))
    assert hostile.face_limited(tmp_path / "left" / "job.h5") in ("fine", "FormatError")
