"""The facts of this very process, its packages, its host and its authority."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import socket
import subprocess
import sys
import types
from pathlib import Path

import pytest

from provml_hpc.environment import Fact, collect, host, mpi, packages, site_authority
from provml_hpc.environment.authority import Authority


def run(tmp_path: Path, *arguments: str, **environment: str) -> dict[str, str]:
    """Collect the facts of the run in a process of its own."""
    script = tmp_path / "train.py"
    script.write_text(
        "import json\nfrom provml_hpc.environment import collect\n"
        "print(json.dumps({f.name: str(f.value) for s in ('run', 'node', 'rank') for f in collect(s)}))\n"
    )
    root = str(Path(host.__file__).parents[2])
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env=kept | {"PYTHONPATH": root} | environment,
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    import json

    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("scope", ["run", "node", "rank"])
def test_each_name_once_and_plain_values(scope) -> None:  # type: ignore[no-untyped-def]
    facts = collect(scope)
    assert len({fact.name for fact in facts}) == len(facts)
    assert all(type(fact.value) in (str, int, float, bool) for fact in facts)
    assert all("." in fact.name for fact in facts)


def test_a_run(tmp_path: Path) -> None:
    found = run(tmp_path, "--password", "s3cret", "--lr=1", API_TOKEN="t0ken", LOADEDMODULES="gcc/12:mpich/4")
    assert found["command.line"].endswith("train.py --password '[redacted]' --lr=1")
    assert found["command.script"] == str(tmp_path / "train.py")
    assert found["command.script_sha256"] == hashlib.sha256((tmp_path / "train.py").read_bytes()).hexdigest()
    assert found["command.directory"] == str(tmp_path)
    assert found["software.modules"] == "gcc/12:mpich/4"
    assert found["host.name"] == found["process.host"] == socket.gethostname()
    assert int(found["host.memory_bytes"]) > 0
    assert "t0ken" not in str(found)
    assert "s3cret" not in str(found)
    assert not [name for name in found if name.startswith("mpi.")], "MPI must not be started to be described"


def test_a_fact_finder_that_fails_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[Fact]:
        raise RuntimeError("no such counter")

    monkeypatch.setattr(host, "rank_facts", fail)
    assert collect("rank")[0] == Fact("process.reason", "RuntimeError: no such counter")


def test_a_user_without_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    monkeypatch.setenv("LOGNAME", "guest")
    assert host.user_name() == "guest"
    monkeypatch.delenv("LOGNAME")
    monkeypatch.delenv("USER", raising=False)
    assert host.user_name() == f"uid-{2**31 - 7}"


def test_an_overlong_command_line_is_cut_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "x" * 100_000])
    (fact,) = (fact for fact in host.run_facts(words=True) if fact.name == "command.line")
    assert len(str(fact.value)) == host.COMMAND_LIMIT
    assert "cut" in fact.comment


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    code = (
        "import os, tempfile\n"
        # Before: Python 3.13.0 imports no socket from a folder that is gone.
        "from provml_hpc.environment import collect\n"
        "d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)\n"
        "names = {f.name for f in collect('run')}\n"
        "assert {'command.directory.reason', 'python.version'} <= names"
    )
    root = str(Path(host.__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": root}, cwd=tmp_path, check=True, timeout=60)


class FakeMPI(types.ModuleType):
    THREAD_MULTIPLE = 3
    finalized = False
    COMM_WORLD = types.SimpleNamespace(Get_size=lambda: 4, Get_rank=lambda: 2)

    def Is_initialized(self) -> bool:  # noqa: N802 - MPI's own names
        return True

    def Is_finalized(self) -> bool:  # noqa: N802
        return self.finalized

    def get_vendor(self) -> tuple[str, tuple[int, int, int]]:
        return "MPICH", (4, 2, 1)

    def Get_version(self) -> tuple[int, int]:  # noqa: N802
        return 4, 1

    def Get_library_version(self) -> str:  # noqa: N802
        return "MPICH Version:      4.2.1\nMPICH configure: --secret\n\0"

    def Query_thread(self) -> int:  # noqa: N802
        return 3

    def Get_processor_name(self) -> str:  # noqa: N802
        return "n1"


def test_mpi_is_described_only_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeMPI("mpi4py.MPI")
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", fake)
    found = {fact.name: fact.value for fact in [*mpi.library_facts(), *mpi.rank_facts()]}
    found.pop("mpi.mpi4py", None)
    assert found == {
        "mpi.name": "MPICH",
        "mpi.version": "4.2.1",
        "mpi.library": "MPICH Version: 4.2.1",
        "mpi.standard": "4.1",
        "mpi.world_size": 4,
        "mpi.thread_level": "multiple",
        "mpi.world_rank": 2,
        "mpi.processor_name": "n1",
    }
    fake.finalized = True
    assert mpi.library_facts() == mpi.rank_facts() == []


def test_packages_agree_with_the_standard_library() -> None:
    expected: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = packages._SEPARATORS.sub("-", distribution.metadata["Name"]).lower()
        expected.setdefault(name, distribution.version)
    assert dict(packages.installed_packages()) == expected


def test_packages_of_every_form(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for name in ("Zeta_Tools-1.0+local.dist-info", "~ip-23.0.dist-info", "plain"):
        (first / name).mkdir(parents=True)
    (first / "dev.egg-info").mkdir()
    (first / "dev.egg-info" / "PKG-INFO").write_text("Name: dev\nVersion: 0.9\n\nVersion: no\n")
    (second / "zeta_tools-2.0.dist-info").mkdir(parents=True)
    (second / "old.pkg-3.1-py3.8.egg-info").write_text("Name: old.pkg\n")
    search = [str(first), str(second), str(tmp_path / "missing"), str(first)]
    found = packages.installed_packages(search)
    assert found == [("dev", "0.9"), ("old-pkg", "3.1"), ("zeta-tools", "1.0+local")]
    text = b"dev==0.9\nold-pkg==3.1\nzeta-tools==1.0+local\n"
    assert packages.packages_digest(found) == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    ("setting", "name", "resolver", "expected"),
    [
        (" example.org ", "n1.cluster.site", "search a.b", Authority("example.org", "setting")),
        ("", "n1.Cluster.Site.", "search a.b", Authority("cluster.site", "host name")),
        ("", "n1", "nameserver 1.2.3.4\nsearch . Geo.Example.org b.c\n", Authority("geo.example.org", "resolver")),
        ("", "n1", "domain a.b\nsearch c.d\n", Authority("c.d", "resolver")),
        ("", "localhost.localdomain", "search localdomain", Authority("localhost", "default")),
        ("", "n1", "", Authority("localhost", "default")),
        ("", "n1.bad domain", "search \x00", Authority("localhost", "default")),
    ],
)
def test_authority(tmp_path: Path, setting: str, name: str, resolver: str, expected: Authority) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(resolver)
    assert site_authority({"PROVML_AUTHORITY": setting}, name, path) == expected


def test_authority_without_a_resolver_file(tmp_path: Path) -> None:
    assert site_authority({}, "n1", tmp_path / "none").name == "localhost"
