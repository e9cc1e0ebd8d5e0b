"""`provml doctor`: every finding on a machine where something is there, broken or missing."""

from __future__ import annotations

import json
import os
import stat
import sys
import types
from pathlib import Path

import pytest

from provml_tools import cli, doctor
from provml_tools.doctor import GOOD, HINT, MISSING, Finding


def program(folder: Path, name: str, text: str) -> None:
    """Put a program into a folder."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def only(findings: object) -> Finding:
    """Return the one finding that there is."""
    (found,) = findings  # type: ignore[misc]
    assert isinstance(found, Finding)
    return found


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_on_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", str(tmp_path), "--json"]) == 0
    found = {row["what"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"python", "mpi", "hdf5", "gpus", "scheduler", "output", "node places"} <= set(found)
    assert found["hdf5"]["state"] == GOOD
    assert list(tmp_path.iterdir()) == []
    assert cli.main(["doctor", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.split()[0] in (GOOD, HINT, MISSING, "->") for line in lines)


def test_mpi_is_not_started_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(sys.modules)
    list(doctor._mpi())
    assert "mpi4py.MPI" not in set(sys.modules) - before


class TestMPI:
    def findings(self, monkeypatch: pytest.MonkeyPatch, vendor: str) -> list[Finding]:
        run = doctor._run

        def fake(command: list[str]) -> tuple[int, str]:
            return (0, f"Library 1.2\n{vendor}\n") if command[0] == sys.executable else run(command)

        monkeypatch.setattr(doctor, "_version", lambda name: "4.0")
        monkeypatch.setattr(doctor, "_run", fake)
        return list(doctor._mpi())

    def test_a_launcher_of_the_same_kind(self, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program(tools, "mpiexec", 'echo "HYDRA build details: MPICH"')
        found = self.findings(monkeypatch, "MPICH 4.2")
        assert [(one.what, one.state) for one in found] == [("mpi", GOOD), ("launcher", GOOD)]

    def test_a_launcher_of_another_kind(self, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program(tools, "mpirun", 'echo "mpirun (Open MPI) 5.0.7"')
        launcher = self.findings(monkeypatch, "MPICH 4.2")[1]
        assert launcher.state == MISSING
        assert "of Open MPI, mpi4py of MPICH" in launcher.found
        assert "mpiexec of MPICH" in launcher.remedy

    def test_no_launcher(self, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.findings(monkeypatch, "MPICH 4.2")[1].state == HINT

    def test_an_mpi_that_does_not_start(self, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor, "_version", lambda name: "4.0")
        monkeypatch.setattr(doctor, "_run", lambda command: (1, "Traceback\nRuntimeError: cannot load MPI library\n"))
        found = only(doctor._mpi())
        assert found.state == MISSING
        assert found.found.endswith("RuntimeError: cannot load MPI library")

    def test_no_mpi_at_all(self, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor, "_version", lambda name: None)
        assert only(doctor._mpi()).state == HINT


class TestGPUs:
    """On a stand-in for NVML: no GPU is needed, and none is tested."""

    def module(self, **functions: object) -> types.ModuleType:
        nvml = types.ModuleType("pynvml")
        nvml.NVMLError = type("NVMLError", (Exception,), {})  # type: ignore[attr-defined]
        nothing: dict[str, object] = {"nvmlInit": lambda: None, "nvmlShutdown": lambda: None}
        for name, function in {**nothing, **functions}.items():
            setattr(nvml, name, function)
        return nvml

    def test_four_of_a_kind(self, monkeypatch: pytest.MonkeyPatch) -> None:
        nvml = self.module(
            nvmlDeviceGetCount=lambda: 4,
            nvmlDeviceGetHandleByIndex=lambda at: at,
            nvmlDeviceGetName=lambda handle: b"NVIDIA H100",
            nvmlSystemGetDriverVersion=lambda: "550.1",
        )
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        assert only(doctor._gpus()).found == "4: NVIDIA H100, driver 550.1"

    def test_a_library_without_a_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        nvml = self.module()

        def fail() -> None:
            raise nvml.NVMLError("Driver Not Loaded")

        nvml.nvmlInit = fail  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        found = only(doctor._gpus())
        assert "Driver Not Loaded" in found.found
        assert found.remedy

    def test_a_driver_that_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        nvml = self.module()

        def fail() -> int:
            raise nvml.NVMLError("GPU is lost")

        nvml.nvmlDeviceGetCount = fail  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        assert only(doctor._gpus()).state == HINT


class TestPlaces:
    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        found = only(doctor._place(tmp_path / "missing"))
        assert found.state == MISSING
        assert found.remedy

    def test_a_file_system_that_cannot_do_it_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(os, "posix_fallocate", refuse)
        monkeypatch.setattr(os, "link", refuse)
        found = only(doctor._place(tmp_path))
        assert found.state == HINT
        assert "space cannot be reserved" in found.found
        assert "no hard links" in found.found
        assert "mapped" not in found.found

    def test_the_places_of_a_job(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SLURM_TMPDIR", str(tmp_path))
        assert f"{tmp_path}: " in only(doctor._node_places()).found


def test_a_scheduler_by_its_command_or_by_its_job(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"):
        monkeypatch.delenv(variable, raising=False)
    assert only(doctor._scheduler()).found.startswith("none")
    program(tools, "qsub", "")
    assert only(doctor._scheduler()).found.startswith("PBS (")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert only(doctor._scheduler()).found == "Slurm, in job 77"
