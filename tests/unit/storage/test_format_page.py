"""docs/format.md says what the code does."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

from provml_hpc.assembly.graph import FIXED_COLUMNS, VALUE_TYPES
from provml_hpc.storage import columns, log_format, owner, samples, tables
from provml_hpc.storage.place import FORMAT_NAME


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return " ".join((repository / "docs" / "format.md").read_text().split())


@pytest.mark.parametrize("row", [log_format.EXTENT, log_format.COMMIT])
def test_the_rows_of_the_log(page: str, row: np.dtype[np.void]) -> None:
    letters = {"<u8": "u64", "<u4": "u32", "<i8": "i64"}
    assert row.fields is not None
    said = ", ".join(f"`{name}` {letters[row.fields[name][0].str]}" for name in row.names or ())
    assert said in page
    assert f"| {row.itemsize} bytes |" in page


def test_names_versions_and_numbers(page: str) -> None:
    assert f"Version {tables.FORMAT_VERSION} of the closed file, {log_format.LOG_VERSION} of the log." in page
    for text in (FORMAT_NAME, columns.TABLE, columns.SAMPLES, "/records/CLASS", "/relations/NAME", "/commits"):
        assert text in page
    for name in (*FIXED_COLUMNS, *VALUE_TYPES, *log_format.DATASETS, owner.LOCK, owner.RECOVERY, owner.HEARTBEAT):
        assert f"`{name}`" in page
    assert {tables.RECORDS, tables.RELATIONS, tables.COMMITS} == {"records", "relations", "commits"}
    assert f"`/{samples.TELEMETRY}/NAME`" in page
    assert f"{columns.CHUNK:,} rows" in page
    assert f"{owner.STALE_S // 86400} days" in page
    assert f"{log_format.ATTEMPTS} attempts" in page


def test_how_plain_h5py_reads_it(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(repository / "tests" / "data" / f"{tables.FORMAT_VERSION}.tar.gz") as archive:
        packed = archive.extractfile("closed/f3.h5")
        assert packed is not None
        (tmp_path / "facies.h5").write_bytes(packed.read())
    monkeypatch.chdir(tmp_path)
    [block] = re.findall(r"^```python\n(.*?)^```$", (repository / "docs" / "format.md").read_text(), re.M | re.S)
    found: dict[str, object] = {}
    exec(block, found)
    assert found["status"] == "finished"
    assert found["labels"] == ["unet-0.npz", "unet-1.npz"]
