"""Files described beside a run: each once, late for what is made, and nothing that a broken file can stop."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from provml_hpc.capture import describer
from provml_hpc.capture.digests import Digester
from provml_hpc.content import stat_key
from tests.unit.capture.jobs import File, capture


def facts_of(file: File, label: str) -> dict[str, str]:
    """Return the characteristics of the data of a name."""
    found: dict[str, str] = {}
    for row in file.all("Dataset", label=label):
        found |= {one["label"]: one["value"] for one in file.objects("hasQuality", row)}
    return found


def tiles(path: Path, rows: int = 7) -> Path:
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((rows, 4), np.float32)
    return path


def test_what_is_read_is_described_once_and_said_beside_what_the_user_says(tmp_path: Path) -> None:
    path = tiles(tmp_path / "tiles.h5")
    with capture(tmp_path) as job:
        for _ in range(3):
            job.run.use_dataset(path, label="tiles", characteristics=["auto", {"survey": "F3"}])
    assert facts_of(job.file, "tiles") == {
        "survey": "F3",
        "reader": "hdf5",
        "format": "HDF5",
        "datasets": "1",
        "variables.images.shape": "[7,4]",
        "variables.images.type": "float32",
    }
    assert job.dropped() == {}


def test_what_is_made_is_described_as_it_is_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "made.h5"
    with capture(tmp_path) as job, job.run.activity("make") as step:
        step.generate_dataset(path, label="made", characteristics="hdf5")
        tiles(path, 9)
    assert facts_of(job.file, "made")["variables.images.shape"] == "[9,4]"


def test_nothing_is_read_unless_asked_for(tmp_path: Path) -> None:
    with capture(tmp_path) as job:
        job.run.use_dataset(tiles(tmp_path / "tiles.h5"), label="tiles")
        assert job.run._session.describer._thread is None
    assert facts_of(job.file, "tiles") == {}


READERS = """
import os, time

def slow(path):
    time.sleep(100)

def crash(path):
    os.abort()

def spoil(path):
    raise RuntimeError("spoiled " + "x" * 5000)

def huge(path):
    return {"text": "x" * (2 << 20)}

def tell(path):
    return {"name": os.path.basename(path)}
"""


def test_a_reader_that_fails_costs_its_facts_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describer, "SECONDS", 3.0)
    (tmp_path / "mine.py").write_text(READERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    why = {
        "slow": "the reader took more than 3 s",
        "crash": "or died of the file",
        "spoil": "RuntimeError: spoiled xxx",
        "huge": "damaged, or too long",
        "missing": "has no attribute 'missing'",
    }
    with capture(tmp_path, strict=True) as job, job.run.training() as training:
        for how in (*why, "tell"):
            (tmp_path / f"{how}.dat").write_text(how)
            training.use_dataset(tmp_path / f"{how}.dat", label=how, characteristics=f"mine:{how}")
        training.log(0, loss=1.0)
    # The last one is described all the same.
    assert facts_of(job.file, "tell") == {"reader": "mine:tell", "name": "tell.dat"}
    found = {row["name"].partition(": ")[0]: row for row in job.file.run.details["dropped"]}
    assert set(found) == set(why)
    for how, row in found.items():
        assert facts_of(job.file, how) == {}
        assert (row["reason"], row["count"]) == ("not described", 1)
        assert why[how] in row["name"]
        assert len(row["name"]) <= 210


def test_a_file_that_nobody_could_describe_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b")
    with capture(tmp_path, warn=True) as job:
        job.run.use_dataset(tmp_path / "x.csv", label="x", characteristics="auto")
    (warned,) = job.warned
    assert "x is recorded without what is in it" in warned
    assert "name its facts yourself" in warned


def test_what_has_no_file_is_counted(tmp_path: Path) -> None:
    with capture(tmp_path) as job:
        job.run.use_dataset(np.arange(3), label="array", characteristics="auto")
        job.run.use_dataset("s3://bucket/x", characteristics="auto")
    why = "it is no file that is there"
    assert job.dropped() == {f"array: {why}": 1, f"s3://bucket/x: {why}": 1}


def test_a_file_that_several_ranks_want_is_described_by_one(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("x")
    key = stat_key(path)
    described: dict[int, list[describer.Job]] = {rank: [] for rank in range(3)}
    ranks = [Digester(lambda record: None, leads=rank == 0, describe=described[rank].append) for rank in range(3)]
    jobs = [describer.Job(key, "auto", 1, 10 + rank, "x") for rank in range(3)]
    for rank in (1, 2):
        ranks[rank].want_description(jobs[rank])
    requests = {rank: text for rank, one in enumerate(ranks) if (text := one.requests())}
    assert {rank: len(json.loads(text)) for rank, text in requests.items()} == {1: 1, 2: 1}
    chosen = ranks[0].assign(requests)
    for rank in (1, 2):
        ranks[rank].accept(chosen.get(rank, []))
    assert described == {0: [], 1: [jobs[1]], 2: []}
    # Whoever asks later hears that somebody has it already.
    ranks[2].want_description(jobs[2])
    assert ranks[2].requests() == b""
    ranks[0].want_description(jobs[0])
    assert described[0] == []
    ranks[0].close(0)


def test_a_child_that_the_job_forks_describes_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    told: list[Any] = []
    one = describer.Describer(lambda job, facts: told.append(facts), lambda job, reason: told.append(reason))
    one._process = os.getpid() + 1
    one.submit(describer.Job(stat_key(tmp_path / "x"), "auto", 1, 2, "x"))
    assert one._thread is None
    assert one.wait(0)
    assert one.close() == 0


def test_what_is_left_at_the_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(READERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "x").write_text("x")
    told: list[Any] = []
    one = describer.Describer(lambda job, facts: told.append(facts), lambda job, reason: told.append(reason))
    for _ in range(3):
        one.submit(describer.Job(stat_key(tmp_path / "x"), "mine:slow", 1, 2, "x"))
    assert not one.wait(0.2)
    assert one.close() == 3
    assert one._thread is not None
    assert not one._thread.is_alive()
    assert told == []
