"""Files that somebody spoiled, by accident or on purpose: clean errors only. ``make fuzz`` does more of the same."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import provml_hpc as provml
from provml_hpc import wire
from provml_hpc.assembly.frames import samples, split
from provml_hpc.journal import FIRST
from provml_hpc.storage import metadata
from provml_hpc.storage.log import LogWriter
from provml_hpc.storage.place import hidden_of, partial_of
from provml_hpc.storage.recover import recover
from tests.faults.fuzz import hdf5, least, originals, targets, workers
from tests.faults.fuzz.originals import Originals
from tests.mpi import launch


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """Return a folder for mutants, in memory where there is such a place."""
    shared = Path("/dev/shm")
    place = (shared if shared.is_dir() else Path("/tmp")) / f"provml-hostile-{os.getpid()}"
    place.mkdir()
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def made(root: Path) -> Originals:
    """Return what is spoiled."""
    return originals.make(root / "originals")


def _laid_out(made: Originals, folder: Path) -> Path:
    hidden = folder / ".job.h5.provml"
    hidden.mkdir(mode=0o700, parents=True)
    (folder / "job.h5.partial").write_bytes(made.log)
    for name, data in made.journals.items():
        (hidden / name).write_bytes(data)
    (hidden / "heartbeat").write_bytes(made.heartbeat)
    return folder / "job.h5"


def test_what_is_spoiled_is_fine_before(made: Originals, root: Path) -> None:
    output = _laid_out(made, root / "left")
    assert recover(output, force=True).taken > 0
    for number, data in enumerate((made.closed, made.small, made.old, output.read_bytes())):
        path = root / "given" / f"{number}.h5"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        for target in ("info", "convert", "validate"):
            word = targets.face(target, targets.Mutant(path, "closed"), 0)
            # What was left out of the small one is missed by the shapes.
            assert word == "done" or (number, target, word) == (1, "validate", "found invalid")


def test_the_checksum_of_hdf5_is_known(made: Originals) -> None:
    """Otherwise mutants of metadata would end at its checksum, and test nothing behind it."""
    known = [made.closed[start : start + 4] for start, _, _ in hdf5.blocks(made.closed)]
    for sign in (b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"BTHD", b"BTLF"):
        assert known.count(sign) == made.closed.count(sign) > 0
    assert len(hdf5.blocks(made.log)) > 5


@pytest.mark.parametrize("target", ["journal", "log", "recover", "info", "convert", "validate"])
def test_mutants_end_cleanly(target: str, made: Originals, root: Path) -> None:
    """Not one brings down a command, and HDF5 only its child."""
    files = {"journal": 100, "log": 30, "recover": 12}.get(target, 16)
    found = workers.Campaign(made, target, root).run(range(5_000_000, 5_000_000 + files))
    assert found.faults == []
    assert found.files == files
    assert found.outcomes["done"] > 0


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.integers(0, 2**64 - 1), st.binary(max_size=80))))
@example([(40, 1, 1, b""), (48, 1, 2, b"")])
def test_whatever_is_walked_over_can_be_split_and_decoded(parts: list[tuple[int, int, int, bytes]]) -> None:
    data = b"".join(
        struct.pack("<IIQq", size, layout, sequence, 0) + body.ljust(max(0, size - 24), b"\0")[: max(0, size - 24)]
        for size, layout, sequence, body in parts
    )
    walked = list(wire.walk(data))
    end = walked[-1][0] + walked[-1][1] if walked else 0
    found = split(data[:end])
    assert found.records == [at for at, _, layout, _ in walked if not layout]
    assert {n: len(rows) for n, rows in found.samples.items()} == {
        layout: sum(one == layout for _, _, one, _ in walked) for _, _, layout, _ in walked if layout
    }
    for rows in found.samples.values():
        assert samples(rows).values.shape[0] == len(rows)
    for at in found.records:
        try:
            frame = wire.decode(data, at)
        except ValueError:
            continue
        assert frame is None or frame.sequence < 2**64


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_no_bytes_are_too_odd_for_the_decoder(data: bytes) -> None:
    for offset in range(0, max(1, len(data)), 8):
        try:
            wire.decode(data, offset)
        except ValueError:
            continue
    list(wire.walk(data))


def test_a_journal_that_claims_to_be_huge_takes_no_memory(made: Originals, tmp_path: Path) -> None:
    output = _laid_out(made, tmp_path / "left")
    journal = next(hidden_of(output).glob("*-l0-s000.journal"))
    with journal.open("r+b") as file:
        file.truncate(1 << 40)
        file.seek(8)
        file.write((1 << 40).to_bytes(8, "little"))
    done = subprocess.run(
        ["prlimit", f"--data={1 << 29}", sys.executable, "-m", "provml_tools.cli", "recover", str(output), "--force"],
        env=launch.environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("run", ["/../../x", "..", "", "0" * 36, 7])
@pytest.mark.parametrize("kind", ["log", "journal"])
def test_names_of_folders_are_made_of_uuids_only(
    kind: str, run: str | int, made: Originals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that a log names becomes part of the names of folders in which journals are looked for and removed."""
    output = _laid_out(made, tmp_path / "job")
    victim = tmp_path / "x"
    victim.mkdir(mode=0o700)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "a" / "b"))
    partial_of(output).unlink()
    data = next(iter(made.journals.values()))
    said = json.loads(data[64 : 64 + int.from_bytes(data[56:60], "little")])
    told = json.dumps({**said, "run": run}).encode()
    spoiled = data[:56] + len(told).to_bytes(4, "little") + data[60:64] + told.ljust(FIRST - 64, b"\0") + data[FIRST:]
    (victim / "precious.journal").write_bytes(spoiled)
    for path in hidden_of(output).glob("*.journal"):
        path.unlink()
    if kind == "log":
        LogWriter.create(partial_of(output), {**said, "run": run}).close()
    else:
        (hidden_of(output) / "x.journal").write_bytes(spoiled)
    with pytest.raises(provml.FormatError, match="of which run"):
        recover(output, force=True)
    assert (victim / "precious.journal").exists()


def test_journals_in_a_folder_that_somebody_else_could_write_to_do_not_count(
    made: Originals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of the right name in a place that all may write to, with records that the run never wrote."""
    output = _laid_out(made, tmp_path / "job")
    name = next(iter(made.journals))
    planted = tmp_path / "tmp" / f"provml-{os.geteuid()}-{name[:8]}"
    planted.mkdir(parents=True)
    planted.chmod(0o777)
    (hidden_of(output) / name).rename(planted / name)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    before = recover(output, dry_run=True, force=True).taken
    planted.chmod(0o700)
    assert recover(output, dry_run=True, force=True).taken > before
    planted.chmod(0o777)
    recover(output, force=True)
    assert (planted / name).exists()


def test_a_link_among_the_journals_is_not_followed(made: Originals, tmp_path: Path) -> None:
    output = _laid_out(made, tmp_path / "job")
    name = sorted(made.journals)[0]
    elsewhere = tmp_path / "elsewhere"
    (hidden_of(output) / name).rename(elsewhere)
    (hidden_of(output) / name).symlink_to(elsewhere)
    found = recover(output, force=True)
    assert any(name in trouble for trouble in found.damage)
    assert elsewhere.read_bytes()[FIRST:] == made.journals[name][FIRST:]


@pytest.mark.parametrize(
    ("sign", "offset", "value"),
    [(b"FRHP", 110, 0), (b"FRHP", 113, 0), (b"BTHD", 5, 1), (b"BTHD", 7, 0), (b"BTHD", 9, 255), (b"BTHD", 10, 0)],
)
def test_one_byte_that_brings_hdf5_down(sign: bytes, offset: int, value: int, made: Originals, tmp_path: Path) -> None:
    """Found by the campaign: with its checksum made anew, such a byte crashes HDF5 2.0, or keeps it for ever.

    The commands end cleanly even where it gets to HDF5, and a reader in a process of one's own is told before.
    """
    start, end, place = next(one for one in hdf5.blocks(made.closed) if made.closed[one[0] :].startswith(sign))
    mutant = bytearray(made.closed)
    mutant[start + offset] = value
    mutant[place : place + 4] = metadata.checksum(bytes(mutant[start:end])).to_bytes(4, "little")
    path = tmp_path / "job.h5"
    path.write_bytes(mutant)
    with pytest.raises(provml.FormatError, match="not as HDF5 writes it"):
        provml.open(path)
    code = """
import sys
from provml_hpc.storage import metadata
from provml_tools import cli, shield
shield.CALL_S, metadata.check = 0.3, lambda path: None
sys.exit(cli.main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "info", str(path)],
        env=launch.environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert targets.judge("info", done.returncode, done.stderr) in ("clean error", "done")


def test_what_brings_something_down_is_made_small(made: Originals) -> None:
    origin = bytes(1000)
    mutant = bytearray(origin)
    for at in range(0, 1000, 50):
        mutant[at] = 7
    assert least.shrink(lambda data: data[300] == 7 and data[850] == 7, origin, bytes(mutant)) == bytes(
        7 * (at in (300, 850)) for at in range(1000)
    )


@pytest.mark.parametrize("started", ["x", 1e308, 2**70, None, [1]])
def test_a_journal_may_say_anything_of_its_start(started: object, made: Originals, tmp_path: Path) -> None:
    output = _laid_out(made, tmp_path / "job")
    partial_of(output).unlink()
    for path in hidden_of(output).glob("*.journal"):
        data = path.read_bytes()
        said = json.loads(data[64 : 64 + int.from_bytes(data[56:60], "little")])
        told = json.dumps({**said, "started_ns": started}).encode()
        path.write_bytes(
            data[:56] + len(told).to_bytes(4, "little") + data[60:64] + told.ljust(FIRST - 64, b"\0") + data[FIRST:]
        )
    assert recover(output, force=True).taken > 0
