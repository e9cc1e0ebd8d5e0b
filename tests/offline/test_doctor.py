"""`provml doctor`: every finding on a machine where something is there, hidden, broken, dead or missing."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from provml_hpc.environment import launcher
from provml_hpc.environment.authority import Authority
from provml_hpc.environment.facts import Fact
from provml_hpc.environment.launcher import Launch
from provml_tools import cli
from provml_tools.doctor import BROKEN, MISSING, NOTE, OK, STATES, Finding, children, findings, is_silent, machine, mpi
from provml_tools.doctor.children import Answer

LONG = 120.0
"""Seconds that no child needs."""


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what a launcher or a scheduler around pytest left."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "PBS_", "LSB_", "FLUX_", "TORCHELASTIC")) or name not in launcher.alone():
            monkeypatch.delenv(name)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose modules children find before all others."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")])))
    return folder


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def hide(modules: Path, *names: str) -> None:
    """Let children not find modules that may be installed."""
    (modules / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {names!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )


def fake_mpi(modules: Path, text: str) -> None:
    """Put an mpi4py of our own where children find it; `text` is the module MPI."""
    package = modules / "mpi4py"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '9.9'\nclass rc:\n    initialize = True\n")
    (package / "MPI.py").write_text(text)


def program(folder: Path, name: str, text: str) -> None:
    """Put a program into a folder."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def named(found: list[Finding], name: str) -> Finding:
    (one,) = (finding for finding in found if finding.name == name)
    return one


class TestCommand:
    def call(self, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
        assert cli.main(["doctor", *arguments]) == code
        return capsys.readouterr().out

    def test_for_programs(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        report = json.loads(self.call(capsys, "--json", "--output", str(tmp_path / "facies.h5")))
        assert list(report) == ["version", "host", "output", "rank", "size", "counts", "findings"]
        assert report["output"] == str(tmp_path / "facies.h5")
        keys = ["topic", "name", "state", "found", "meaning", "remedy", "details"]
        assert all(list(finding) == keys for finding in report["findings"])
        assert all(finding["state"] in STATES and finding["found"] for finding in report["findings"])
        assert all(finding["remedy"] for finding in report["findings"] if finding["state"] in (MISSING, BROKEN))
        known = [(finding["topic"], finding["name"]) for finding in report["findings"]]
        assert len(set(known)) == len(known)
        assert {
            *(("Python", name) for name in ("python", "provml-hpc", "numpy", "offline", "export", "pandas")),
            *(("MPI", name) for name in ("mpi4py", "mpiexec", "launch")),
            *(("HDF5", name) for name in ("h5py", "live reading", "file locking")),
            ("GPUs", "NVML"),
            ("Places", "output"),
            ("Places", "node journals"),
            ("Site", "scheduler"),
            ("Site", "names"),
            ("Run", "flush"),
        } <= set(known)
        assert sum(report["counts"].values()) == len(report["findings"])
        assert list(report["counts"]) == list(STATES)
        assert list(tmp_path.iterdir()) == [], "something was left behind"

    def test_for_people(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        said = self.call(capsys, "--output", str(tmp_path))
        assert "\033" not in said, "colours, where there is no terminal"
        lines = said.splitlines()
        assert [line for line in lines if line and not line.startswith(" ")][:-1] == [
            *("Python", "MPI", "HDF5", "GPUs", "Places", "Site", "Run")
        ]
        assert " ok" in lines[-1]
        assert all(len(line) <= 130 for line in lines if str(tmp_path) not in line and sys.prefix not in line)

    def test_mpi_and_nvml_stay_out_of_this_process(self, tmp_path: Path) -> None:
        look = (
            "import sys; from provml_tools import cli; code = cli.main(sys.argv[1:]);"
            "print({'mpi4py', 'pynvml', 'h5py'} & set(sys.modules), file=sys.stderr); sys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", look, "doctor", "--output", str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=LONG,
        )
        assert (done.returncode, done.stderr) == (0, "set()\n")

    def test_a_check_that_fails_itself(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_: object) -> Finding:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(machine, "gpus", fail)
        said = self.call(capsys, "--output", str(tmp_path), code=1)
        assert "the check itself failed: ZeroDivisionError: a bug" in said
        assert "scheduler" in said, "the checks after it"

    @pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "inf"])
    def test_a_wrong_call(self, seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            cli.main(["doctor", "--timeout", seconds])
        assert ended.value.code == 2
        assert "is no number of seconds" in capsys.readouterr().err

    def test_ranks_but_the_first_are_silent(
        self, tmp_path: Path, modules: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake_mpi(modules, "raise RuntimeError('no library')")
        monkeypatch.setattr("sys.stdin", io.StringIO())
        monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
        monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
        assert self.call(capsys, "--output", str(tmp_path)) == ""
        monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
        said = self.call(capsys, "--output", str(tmp_path))
        assert "rank 0 of 2, by Open MPI's mpiexec" in said
        assert "not asked, since MPI would not join them" in said


class TestScreen:
    def test_a_hostile_text_commands_no_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        findings.Screen(sys.stdout, colours=False).show([Finding("GPUs", "NVML", OK, "a\033[2Jb\nc")])
        assert capsys.readouterr().out.splitlines()[1].endswith("a\\x1b[2Jb c")

    def test_colours_only_where_they_are_wanted(self) -> None:
        class Terminal:
            def isatty(self) -> bool:
                return True

        terminal: Any = Terminal()
        assert findings.wants_colours(terminal, {"TERM": "xterm"})
        assert not findings.wants_colours(terminal, {"TERM": "dumb"})
        assert not findings.wants_colours(terminal, {"TERM": "xterm", "NO_COLOR": "1"})
        assert not findings.wants_colours(io.StringIO(), {"TERM": "xterm"})


class TestChildren:
    def test_it_says_how_far_it_came(self) -> None:
        answer = children.ask("tell('first', x=1)\nprint('noise')\nimport os\nos.abort()", LONG)
        assert answer.steps == {"first": {"x": 1}}
        assert answer.trouble == "killed by SIGABRT"

    def test_its_last_words_are_its_error(self) -> None:
        assert children.ask("raise ValueError('so it is')", LONG).trouble == "ValueError: so it is"

    def test_one_that_hangs_is_ended_with_all_that_it_started(self, tmp_path: Path) -> None:
        source = (
            "import pathlib, subprocess, time\n"
            "child = subprocess.Popen(['sleep', '1000'])\n"
            f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
            "tell('started')\n"
            "time.sleep(1000)"
        )
        answer = children.ask(source, 5)
        assert answer.trouble == "no answer in 5 s"
        assert "started" in answer.steps
        state = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
        # It is killed, but not by its parent, so nobody waited for that.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            while state.read_text().rpartition(")")[2].split()[0] not in "ZX":
                time.sleep(0.05)

    def test_a_daemon_that_it_leaves_keeps_nobody_waiting(self) -> None:
        answer = children.ask("import subprocess\nsubprocess.Popen(['sleep', '1000'])\ntell('ended')", LONG)
        assert (answer.trouble, list(answer.steps)) == ("", ["ended"])

    def test_a_command_that_is_not_there(self, tmp_path: Path) -> None:
        assert children.run([str(tmp_path / "none")], LONG).trouble == os.strerror(errno.ENOENT)

    def test_the_folder_it_starts_in_is_not_imported_from(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "mpi4py.py").write_text("raise SystemExit('planted')")
        monkeypatch.chdir(tmp_path)
        assert "planted" not in mpi.probe(LONG).text


class TestMPI:
    def findings(self, answer: Answer, launched: Launch | None = None) -> list[Finding]:
        return list(mpi.check(answer, launched or Launch(), LONG))

    def answer(self, vendor: str) -> Answer:
        steps: dict[str, dict[str, Any]] = {
            "mpi4py": {"version": "4.1", "path": "/x"},
            "library": {"text": f"{vendor} 5\0", "vendor": vendor, "version": [5], "standard": [4, 1]},
            "started": {"size": 1, "threads": "multiple"},
            "ended": {},
        }
        return Answer(steps)

    def test_no_mpi4py(self, modules: Path) -> None:
        hide(modules, "mpi4py")
        answer = mpi.probe(LONG)
        assert named(self.findings(answer), "mpi4py").state == NOTE
        under = named(self.findings(answer, Launch(launcher.OPEN_MPI, "x", 0, 2)), "mpi4py")
        assert (under.state, under.found) == (MISSING, "not installed")
        assert "provml-hpc[mpi]" in under.remedy

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("raise RuntimeError('cannot load MPI library')", "finds no MPI library: RuntimeError: cannot load MPI"),
            ("import os\nos.abort()", "finds no MPI library: killed by SIGABRT"),
            ("import os\nos._exit(3)", "finds no MPI library: exit code 3"),
        ],
    )
    def test_a_library_that_is_not_there_or_crashes(self, modules: Path, text: str, said: str) -> None:
        fake_mpi(modules, text)
        found = named(self.findings(mpi.probe(LONG)), "mpi4py")
        assert found.state == BROKEN
        assert said in found.found
        assert found.remedy

    def test_an_mpi_that_hangs_as_it_starts(self, modules: Path) -> None:
        fake_mpi(
            modules,
            "import time\n"
            "def get_vendor(): return 'MPICH', (5, 0)\n"
            "def Get_library_version(): return 'MPICH Version: 5\\nmore'\n"
            "def Get_version(): return 4, 1\n"
            "def Init_thread(): time.sleep(1000)\n",
        )
        found = named(self.findings(mpi.probe(5)), "mpi4py")
        assert found.state == BROKEN
        assert found.found == "9.9 with MPICH Version: 5, which does not start: no answer in 5 s"

    def test_variables_of_a_rank_are_kept_from_the_probe(self, modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_mpi(modules, "import os\nraise RuntimeError(str('PMI_RANK' in os.environ) + os.environ['OMPI_MCA_pml'])")
        monkeypatch.setenv("PMI_RANK", "3")
        monkeypatch.setenv("OMPI_MCA_pml", "ob1")
        assert mpi.probe(LONG).trouble == "RuntimeError: Falseob1"

    @pytest.mark.parametrize(
        ("said", "vendor", "state"),
        [
            ("HYDRA build details:", "MPICH", OK),
            ("Intel(R) MPI Library for Linux* OS", "MPICH", OK),
            ("mpirun (Open MPI) 5.0.7", "Open MPI", OK),
            ("mpirun (Open MPI) 5.0.7", "MPICH", BROKEN),
            ("HYDRA build details:", "Open MPI", BROKEN),
            ("something else 1.0", "MPICH", OK),
        ],
    )
    def test_a_launcher_and_its_kind(self, tools: Path, said: str, vendor: str, state: str) -> None:
        program(tools, "mpiexec", f"echo '{said}'")
        found = named(self.findings(self.answer(vendor)), "mpiexec")
        assert found.state == state
        assert (f"mpiexec of {vendor} first" in found.remedy) == (state == BROKEN)

    def test_a_launcher_that_does_not_run(self, tools: Path) -> None:
        program(tools, "mpirun", "echo cannot find libhwloc >&2; exit 127")
        found = named(self.findings(self.answer("MPICH")), "mpiexec")
        assert (found.state, found.found) == (BROKEN, f"{tools}/mpirun: cannot find libhwloc")

    def test_no_launcher_but_srun(self, tools: Path) -> None:
        program(tools, "srun", "exit 1")
        found = named(self.findings(self.answer("MPICH")), "mpiexec")
        assert (found.state, found.details["srun"]) == (OK, f"{tools}/srun")

    def test_no_launcher(self, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", str(tools / "python"))
        assert named(self.findings(self.answer("MPICH")), "mpiexec").state == MISSING
        assert named(self.findings(Answer({"absent": {}})), "mpiexec").state == NOTE

    @pytest.mark.parametrize(
        ("kind", "vendor", "fits"),
        [
            (launcher.OPEN_MPI, "Open MPI", True),
            (launcher.OPEN_MPI, "MPICH", False),
            (launcher.PMI, "MPICH", True),
            (launcher.PMI, "Intel MPI", True),
            (launcher.PMI, "Open MPI", False),
            (launcher.PMIX, "Open MPI", True),
        ],
    )
    def test_a_launch_and_its_kind(self, kind: str, vendor: str, fits: bool) -> None:
        launched = Launch(kind, "the launcher", 0, 4)
        found = named(self.findings(self.answer(vendor), launched), "launch")
        assert found.state == (OK if fits else BROKEN)
        assert mpi.joins(launched, self.answer(vendor)) == fits

    @pytest.mark.parametrize("kind", [launcher.SRUN, launcher.TORCHRUN])
    def test_processes_that_no_mpi_joins(self, kind: str) -> None:
        found = named(self.findings(self.answer("MPICH"), Launch(kind, "the launcher", 0, 4)), "launch")
        assert (found.state, "provml merge" in found.meaning) == (NOTE, True)
        assert not mpi.joins(Launch(kind, "the launcher", 0, 4), self.answer("MPICH"))


class TestLaunch:
    def test_leftovers_are_said(self) -> None:
        (found,) = [
            one
            for one in mpi.check(Answer({"absent": {}}), Launch(leftovers=("PMI_RANK",)), LONG)
            if one.name == "launch"
        ]
        assert (found.state, found.details["leftovers"]) == (NOTE, ["PMI_RANK"])

    def test_somebody_at_a_keyboard_gets_a_report(self, monkeypatch: pytest.MonkeyPatch) -> None:
        leader, terminal = os.openpty()
        try:
            with os.fdopen(terminal) as keyboard:
                monkeypatch.setattr("sys.stdin", keyboard)
                assert not is_silent(Launch(launcher.OPEN_MPI, "x", 1, 2))
        finally:
            os.close(leader)


class TestPackages:
    def test_what_is_hidden(self, modules: Path) -> None:
        hide(modules, "pyoxigraph", "pandas")
        found = list(machine.packages(machine.extras(LONG)))
        assert named(found, "numpy").state == OK
        offline = named(found, "offline")
        assert offline.state == NOTE
        assert "pyoxigraph" in offline.details["missing"]
        assert offline.remedy == "pip install 'provml-hpc[offline]'"
        assert named(found, "pandas").details["missing"] == ["pandas"]

    def test_what_is_broken_or_takes_the_process_along(self, modules: Path) -> None:
        (modules / "rich.py").write_text("raise OSError('libx.so: cannot open')")
        (modules / "pyarrow.py").write_text("import os\nos.abort()")
        found = list(machine.packages(machine.extras(LONG)))
        assert "rich cannot be imported: OSError: libx.so: cannot open" in named(found, "offline").found
        assert "pyarrow cannot be imported: killed by SIGABRT" in named(found, "export").found
        assert "not tried" in named(found, "pandas").found
        assert {named(found, name).state for name in ("offline", "export", "pandas")} == {BROKEN}


class TestGPUs:
    """On stand-ins for NVML: no GPU is needed, and none is tested."""

    def found(self, modules: Path, text: str) -> Finding:
        head = "class NVMLError(Exception): pass\nclass NVMLError_LibraryNotFound(NVMLError): pass\n"
        tail = "def nvmlShutdown(): pass\ndef nvmlSystemGetDriverVersion(): return '550.1'\n"
        (modules / "pynvml.py").write_text(head + tail + text)
        return machine.gpus(machine.nvml(LONG))

    @pytest.fixture(autouse=True)
    def no_device(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "_NVIDIA", tmp_path / "nvidiactl")
        monkeypatch.setattr(machine, "_AMD", tmp_path / "kfd")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def test_not_installed(self, modules: Path, tmp_path: Path) -> None:
        hide(modules, "pynvml")
        found = machine.gpus(machine.nvml(LONG))
        assert (found.state, found.details["reason"]) == (NOTE, "not installed")
        (tmp_path / "nvidiactl").touch()
        found = machine.gpus(machine.nvml(LONG))
        assert found.state == MISSING
        assert "provml-hpc[telemetry]" in found.remedy

    def test_no_library(self, modules: Path, tmp_path: Path) -> None:
        text = "def nvmlInit(): raise NVMLError_LibraryNotFound('NVML Shared Library Not Found')"
        found = self.found(modules, text)
        assert (found.state, found.details["reason"]) == (NOTE, "NVML Shared Library Not Found")
        (tmp_path / "nvidiactl").touch()
        assert machine.gpus(machine.nvml(LONG)).state == BROKEN

    def test_no_device(self, modules: Path) -> None:
        found = self.found(modules, "def nvmlInit(): pass\ndef nvmlDeviceGetCount(): return 0")
        assert (found.state, found.details["reason"], found.details["count"]) == (NOTE, "no device", 0)

    def test_four_of_a_kind(self, modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        found = self.found(
            modules,
            "def nvmlInit(): pass\ndef nvmlDeviceGetCount(): return 4\n"
            "def nvmlDeviceGetHandleByIndex(at): return at\ndef nvmlDeviceGetName(one): return b'NVIDIA H100'",
        )
        assert (found.state, found.found) == (OK, "4 x NVIDIA H100, driver 550.1, CUDA_VISIBLE_DEVICES=0,1")
        assert found.details["names"] == ["NVIDIA H100"] * 4

    def test_a_driver_that_fails(self, modules: Path) -> None:
        found = self.found(modules, "def nvmlInit(): raise NVMLError('Driver/library version mismatch')")
        assert found.state == BROKEN
        assert "version mismatch" in found.found
        found = self.found(modules, "def nvmlInit(): pass\ndef nvmlDeviceGetCount(): raise NVMLError('GPU is lost')")
        assert found.state == BROKEN
        assert "GPU is lost" in found.found


class TestSite:
    def test_a_job(self) -> None:
        facts = [Fact("scheduler.name", "slurm"), Fact("scheduler.job_id", "77"), Fact("scheduler.nodes", 12)]
        found = machine.scheduler(facts)
        assert (found.state, found.found) == (OK, "slurm job 77 (nodes 12)")

    def test_leftovers(self) -> None:
        assert machine.scheduler([Fact("scheduler.reason", "taken as leftovers")]).state == NOTE

    def test_a_scheduler_outside_of_a_job(self, tools: Path) -> None:
        assert machine.scheduler([]).found == "none"
        program(tools, "qsub", "")
        found = machine.scheduler([])
        assert (found.state, found.details["commands"]) == (NOTE, {"PBS": f"{tools}/qsub"})

    def test_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PROVML_AUTHORITY", "hpc.example.org")
        assert machine.authority().state == OK
        monkeypatch.setattr(machine, "site_authority", lambda: Authority("localhost", "default"))
        found = machine.authority()
        assert found.state == NOTE
        assert found.remedy.startswith("export PROVML_AUTHORITY=")
