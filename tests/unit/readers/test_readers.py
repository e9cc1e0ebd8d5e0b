"""What readers tell of real files, made with the libraries that people make them with; and of files that are broken."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from provml_hpc import readers
from provml_hpc.errors import UsageError
from provml_hpc.readers import hdf5, segy


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    path = tmp_path / "tiles.h5"
    with h5py.File(path, "w") as file:
        file.attrs["title"] = "Facies tiles"
        images = file.create_dataset("train/images", data=np.zeros((7, 4, 4), np.float32))
        images.attrs["units"] = np.bytes_(b"mV")
        file["train/labels"] = np.arange(7, dtype=np.uint8)
        file["none"] = h5py.Empty("f4")
    return path


def grid(path: Path, form: str) -> Path:
    netcdf = pytest.importorskip("netCDF4", reason="netCDF4 is not there: pip install provml-hpc[netcdf]")
    with netcdf.Dataset(path, "w", format=form) as data:
        data.title, data.Conventions = "Two-metre temperature", "CF-1.8"
        for name, values, units in (
            ("time", np.arange(4) * 6.0, "hours since 2026-01-01"),
            ("latitude", np.linspace(90, -90, 5), "degrees_north"),
            ("longitude", np.array([0.0, 270.0, 90.0]), "degrees_east"),
        ):
            data.createDimension(name, None if name == "time" else len(values))
            axis = data.createVariable(name, "f8", (name,))
            axis[:], axis.units = values, units
        field = data.createVariable("t2m", "f4", ("time", "latitude", "longitude"))
        field.units, field.standard_name = "K", "air_temperature"
        field[:] = 280.0
    return path


def volume(path: Path, endian: str = "big", lines: bool = True) -> Path:
    segyio = pytest.importorskip("segyio", reason="segyio is not there: pip install provml-hpc[segy]")
    spec = segyio.spec()
    spec.ilines, spec.xlines, spec.samples = np.arange(100, 120, 5), np.arange(300, 303), np.arange(0, 40, 4)
    spec.sorting, spec.format, spec.endian = 2, 5, endian
    with segyio.create(str(path), spec) as file:
        file.bin.update(hdt=4000, hns=len(spec.samples), mfeet=1)
        for at, (inline, crossline) in enumerate((a, b) for a in spec.ilines for b in spec.xlines):
            where = {189: int(inline), 193: int(crossline)} if lines else {}
            file.header[at] = {**where, 71: -10, 181: int(inline) * 25, 185: int(crossline) * 25}
            file.trace[at] = np.zeros(len(spec.samples), np.float32)
    return path


def test_hdf5(tiles: Path) -> None:
    assert readers.describe(str(tiles)) == {
        "reader": "hdf5",
        "format": "HDF5",
        "title": "Facies tiles",
        "datasets": 3,
        "variables": {
            "none": {"shape": [], "type": "float32"},
            "train/images": {"shape": [7, 4, 4], "type": "float32", "units": "mV"},
            "train/labels": {"shape": [7], "type": "uint8"},
        },
    }


def test_of_very_many_datasets_some_are_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for number in range(hdf5.MOST + 10):
            file[f"{number:03}"] = 1
    facts = readers.describe(str(tmp_path / "many.h5"))
    assert (facts["datasets"], len(facts["variables"])) == (60, 50)


@pytest.mark.parametrize("form", ["NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA"])
def test_netcdf(tmp_path: Path, form: str) -> None:
    assert readers.describe(str(grid(tmp_path / "t2m.nc", form))) == {
        "reader": "netcdf",
        "format": form,
        "title": "Two-metre temperature",
        "Conventions": "CF-1.8",
        "dimensions": {"time": 4, "latitude": 5, "longitude": 3},
        "grid": {
            "time": {"points": 4, "first": 0.0, "last": 18.0, "units": "hours since 2026-01-01"},
            "latitude": {"points": 5, "first": 90.0, "last": -90.0, "units": "degrees_north"},
            # First and last are not the ends of this axis.
            "longitude": {
                **{"points": 3, "first": 0.0, "last": 90.0, "least": 0.0, "greatest": 270.0},
                "units": "degrees_east",
            },
        },
        "variables": {
            "t2m": {
                "dimensions": ["time", "latitude", "longitude"],
                "type": "float32",
                "standard_name": "air_temperature",
                "units": "K",
            }
        },
        "groups": 0,
    }


@pytest.mark.parametrize("endian", ["big", "little"])
def test_segy(tmp_path: Path, endian: str) -> None:
    assert readers.describe(str(volume(tmp_path / "f3.SEGY", endian))) == {
        "reader": "segy",
        "format": "SEG-Y",
        "traces": 12,
        "samples": 10,
        "interval_us": 4000,
        "sample_type": "IEEE float32",
        "endian": endian,
        "length_unit": "metre",
        "inline": {"first": 100, "last": 115, "lines": 4},
        "crossline": {"first": 300, "last": 302, "lines": 3},
        "x": {"least": 250.0, "greatest": 287.5},
        "y": {"least": 750.0, "greatest": 755.0},
    }


def test_segy_of_no_volume_has_no_lines(tmp_path: Path) -> None:
    facts = readers.describe(str(volume(tmp_path / "line.sgy", lines=False)))
    assert not {"inline", "crossline"} & set(facts)


def test_of_very_many_traces_some_headers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segy, "ALL", 5)
    monkeypatch.setattr(segy, "_ENDS", 1)
    facts = readers.describe(str(volume(tmp_path / "f3.sgy")))
    # Both ends are read, so the ranges of a sorted volume are right; how many lines there are is not known.
    assert (facts["inline"], facts["crossline"]) == ({"first": 100, "last": 115}, {"first": 300, "last": 302})
    assert facts["headers_read"] == "some"


def test_readers_of_others_are_asked_first(monkeypatch: pytest.MonkeyPatch, tiles: Path) -> None:
    from importlib.metadata import EntryPoint

    own = {name: f"provml_hpc.readers.{name}:describe" for name in ("hdf5", "netcdf", "segy")}
    there = [EntryPoint(name, value, readers.GROUP) for name, value in {**own, "las": f"{__name__}:las"}.items()]
    monkeypatch.setattr(
        readers, "entry_points", lambda group, name=None: [one for one in there if name in (None, one.name)]
    )
    assert readers.names() == ["las", "netcdf", "segy", "hdf5"]
    monkeypatch.setitem(sys.modules, __name__, sys.modules[las.__module__])
    assert readers.describe(str(tiles)) == {"reader": "las", "wells": 3}
    assert readers.describe(str(tiles), "hdf5")["reader"] == "hdf5"


def las(path: str) -> dict[str, int] | None:
    return {"wells": 3}


def test_a_file_that_nobody_knows(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b")
    for path in (tmp_path / "x.csv", tmp_path):
        with pytest.raises(UsageError, match="of no kind that any of the readers"):
            readers.describe(str(path))
    with pytest.raises(UsageError, match="of no kind that the reader netcdf knows"):
        readers.describe(str(tmp_path / "x.csv"), "netcdf")
    with pytest.raises(UsageError, match=r"no reader is called 'xls'; there are: .*hdf5"):
        readers.describe(str(tmp_path / "x.csv"), "xls")


def test_what_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segyio", None)
    (tmp_path / "x.sgy").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"segy: .*segyio.*install it"):
        readers.describe(str(tmp_path / "x.sgy"))


def test_the_child_says_one_line_a_job_whatever_readers_print(tiles: Path, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "def describe(path):\n    print('hello')\n    return {'at': object, 'nan': float('nan')}\n"
    )
    (tmp_path / "broken.h5").write_bytes(tiles.read_bytes()[:100])
    jobs = "".join(
        f'{{"path": "{path}", "reader": "{reader}"}}\n'
        for path, reader in ((tiles, "loud:describe"), (tmp_path / "broken.h5", "auto"), (tiles, "no:such"))
    )
    done = subprocess.run(
        [sys.executable, "-m", "provml_hpc.readers"],
        input=jobs,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(tmp_path)},
    )
    loud, broken, absent = done.stdout.splitlines()
    assert loud == '{"facts": {"reader": "loud:describe", "at": "<class \'object\'>", "nan": NaN}}'
    assert "OSError" in broken
    assert "ModuleNotFoundError" in absent or "No module named 'no'" in absent


def test_a_child_whose_job_is_gone_does_not_hang_for_ever(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text("def describe(path):\n    while True:\n        pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "provml_hpc.readers"],
        input='{"path": "x", "reader": "hangs:describe", "seconds": 1}\n',
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert (done.returncode, done.stdout) == (-signal.SIGALRM, "")
