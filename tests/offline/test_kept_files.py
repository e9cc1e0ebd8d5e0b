"""Files that earlier code wrote are read, asked, held to the rules, recovered and gone on with by today's.

``tests/data`` has an archive for each version of the format, which ``tests.data.make`` wrote with the code of its time
(1.0: that of commit 5bc1a18).
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyoxigraph
import pytest

import provml_hpc as provml
from provml_hpc.capture import facts
from provml_hpc.storage.tables import FORMAT_VERSION
from provml_tools import cli

KEPT = sorted((Path(__file__).resolve().parents[1] / "data").glob("*.tar.gz"))


@pytest.fixture(params=KEPT, ids=[path.name.removesuffix(".tar.gz") for path in KEPT])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a folder with the files of one version: ``closed/f3.h5``, and what a killed run left in ``left``."""
    with tarfile.open(request.param) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # type: ignore[assignment] # of newer Pythons
        archive.extractall(tmp_path)
    return tmp_path


def check_told(path: Path, *, whole: bool) -> None:
    """Hold a closed file to what tests/data/job.py did; `whole` tells whether it came to its end."""
    with provml.open(path) as file:
        run = file.run
        assert (run.name, run.phase, run.study, run.authority) == (
            "facies-unet", "learning", "netherlands-f3", "hpc.example.org",
        )  # fmt: skip
        samples: Any = file.samples()
        steps = np.tile(np.arange(10), 2)
        ranks = np.repeat([0, 1], 10)
        for measure, values in (
            ("loss", ranks + 1 / (steps + 1)),
            ("grad_norm", np.where(steps == 3, np.nan, 0.5)),
        ):
            rows = file.samples(measure=measure)
            order = np.lexsort((rows["step"], rows["rank"]))
            assert rows["rank"][order].tolist() == ranks.tolist()
            assert rows["step"][order].tolist() == steps.tolist()
            np.testing.assert_array_equal(rows["value"][order], values)
        assert len(samples) == 40
        stage = file.nodes("LearningStageSectionExecution")
        assert sorted(row["section_index"] for row in stage) == [0, 1]
        assert {row["label"] for row in file.nodes("Model")} == {f"unet-{n}.npz" for n in range(1 + whole)}
        (tiles,) = file.nodes("LearningDataset")
        assert (tiles["path"], tiles["size"]) == ("/scratch/f3/tiles.npy", 192)
        values = {row["label"]: row["value"] for row in file.nodes("AttributeValue")}
        assert values["code.commit"] == "0123456789abcdef0123456789abcdef01234567"
        assert {row["label"]: row["value"] for row in file.nodes("DatasetCharacteristic")} == {
            "samples": "8",
            "survey": "F3 — Ölfeld",
        }
        if not whole:
            words = {row["value"] for row in file.nodes("AttributeValue") if row["label"] == "last"}
            assert words == {"words of 0", "words of 1"}


def check_commands(path: Path, capsys: pytest.CaptureFixture[str], status: str) -> None:
    assert cli.main(["info", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["study"], told["nodes"]) == (status, "netherlands-f3", ["node1"])
    assert cli.main(["validate", str(path)]) == 0, capsys.readouterr().out
    capsys.readouterr()
    assert cli.main(["convert", str(path), "--to", "nquads", "-o", str(path.parent / "f3.nq")]) == 0
    store = pyoxigraph.Store()
    store.load(path=str(path.parent / "f3.nq"), format=pyoxigraph.RdfFormat.N_QUADS)
    found: Any = store.query("SELECT ?s { GRAPH ?g { ?s a <https://w3id.org/provml-hpc/ns#TrainingExecution> } }")
    assert len(list(found)) == 1


def test_the_current_format_is_kept() -> None:
    assert f"{FORMAT_VERSION}.tar.gz" in {path.name for path in KEPT}, "run: python -m tests.data.make"


def test_a_closed_file(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = kept / "closed" / "f3.h5"
    check_told(path, whole=True)
    check_commands(path, capsys, "finished")


def test_what_a_killed_run_left(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = kept / "left" / "f3.h5"
    check_commands(path, capsys, "incomplete")
    assert cli.main(["recover", str(path), "--dry-run"]) == 0
    assert not path.exists()
    assert cli.main(["recover", str(path)]) == 0
    capsys.readouterr()
    check_told(path, whole=False)
    check_commands(path, capsys, "recovered")
    assert sorted(one.name for one in path.parent.iterdir()) == ["f3.h5", "f3.nq"]


def test_a_run_of_earlier_code_is_gone_on_with(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "collect", lambda scope, record=(): [])
    for name, end in (("closed", "finished"), ("left", "recovered")):
        path = kept / name / "f3.h5"
        with provml.init(
            "facies-unet", phase="learning", study="netherlands-f3", output=path, if_exists="resume", persona="Ada"
        ) as run:
            run.log_values({"again": end})
        with provml.open(path) as file:
            assert file.status == "finished"
            assert sorted(row["attempt"] for row in file.nodes("Attempt")) == [1, 2]
            assert len(file.samples(measure="loss")) == 20
            assert end in {row["value"] for row in file.nodes("AttributeValue") if row["label"] == "again"}
        with h5py.File(path) as plain:
            assert plain.attrs["format_version"].decode() == FORMAT_VERSION
