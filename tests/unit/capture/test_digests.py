"""Who reads a file: one of the ranks that named it, once; and what is written down of it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from provml_hpc import records, wire
from provml_hpc.capture.digests import SMALL, Digester
from provml_hpc.capture.entity import state_of
from provml_hpc.content import StatKey, stat_key


class Ranks:
    """Digesters of several ranks, the first the lead, and a flush point between them."""

    def __init__(self, count: int) -> None:
        self.written: list[list[records.Record]] = [[] for _ in range(count)]
        self.digesters = [Digester(self.written[rank].append, leads=rank == 0) for rank in range(count)]

    def asked(self) -> dict[int, bytes]:
        return {rank: text for rank, one in enumerate(self.digesters) if (text := one.requests())}

    def flush(self) -> None:
        chosen = self.digesters[0].assign(self.asked())
        for rank, digester in enumerate(self.digesters):
            digester.accept(chosen.get(rank, []))
        for digester in self.digesters:
            assert digester.wait(30)

    def digested(self) -> list[tuple[int, records.Digested]]:
        return [
            (rank, one) for rank, all_ in enumerate(self.written) for one in all_ if isinstance(one, records.Digested)
        ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.bin"
    path.write_bytes(b"scan" * 100)
    return path


def test_a_file_that_all_ranks_name_is_read_once(file: Path) -> None:
    ranks = Ranks(4)
    key = stat_key(file)
    for digester in ranks.digesters:
        digester.want(key)
        digester.want(key)
    ranks.flush()
    ((rank, found),) = ranks.digested()
    assert (rank, found.state, found.digest) == (0, "whole", hashlib.sha256(b"scan" * 100).hexdigest())
    assert (found.path, found.inode, found.size, found.modified_ns, found.content_size) == (
        str(file), key.inode, 400, key.mtime_ns, 400,
    )  # fmt: skip
    for digester in ranks.digesters:
        digester.want(key)
    ranks.flush()
    assert len(ranks.digested()) == 1


def test_what_the_lead_did_not_name_is_read_by_one_of_the_others(file: Path, tmp_path: Path) -> None:
    ranks = Ranks(4)
    other = tmp_path / "y.bin"
    other.write_bytes(b"y")
    for digester in ranks.digesters[2:]:
        digester.want(stat_key(file))
    ranks.digesters[3].want(stat_key(other))
    assert ranks.digested() == []
    ranks.flush()
    assert sorted((rank, one.path) for rank, one in ranks.digested()) == [(2, str(file)), (3, str(other))]


def test_nodes_that_number_a_shared_device_differently_mean_the_same_file(file: Path) -> None:
    ranks = Ranks(3)
    for number, digester in enumerate(ranks.digesters):
        digester.want(stat_key(file)._replace(device=number))
    ranks.digesters[0].wait(30)
    ranks.flush()
    assert len([one for _, one in ranks.digested() if one.path == str(file)]) == 1


def test_what_a_rank_made_alone_is_read_at_once(file: Path) -> None:
    ranks = Ranks(2)
    ranks.digesters[1].want(stat_key(file), at_once=True)
    ((rank, _),) = ranks.digested()
    assert rank == 1
    assert ranks.digesters[1].requests() == b""


def test_a_large_file_is_read_beside_the_training(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(SMALL + 1))
    ranks = Ranks(1)
    ranks.digesters[0].want(stat_key(path))
    assert ranks.digesters[0].wait(30)
    ((_, found),) = ranks.digested()
    assert (found.state, found.content_size) == ("whole", SMALL + 1)
    assert ranks.digesters[0].close(1) == 0


def test_a_file_in_another_state_is_labelled_and_has_no_digest(file: Path) -> None:
    ranks = Ranks(1)
    key = stat_key(file)
    file.write_bytes(b"other")
    os.utime(file, ns=(1, 1))
    ranks.digesters[0].want(key)
    ((_, found),) = ranks.digested()
    assert (found.state, found.digest, found.modified_ns) == ("changed", "", key.mtime_ns)


def test_a_file_that_is_gone_is_missing(file: Path) -> None:
    ranks = Ranks(1)
    key = stat_key(file)
    file.unlink()
    ranks.digesters[0].want(key)
    ((_, found),) = ranks.digested()
    assert (found.state, found.digest) == ("missing", "")
    assert found.reason


def test_a_directory_has_its_files_as_members(tmp_path: Path) -> None:
    folder = tmp_path / "tiles"
    (folder / "deep").mkdir(parents=True)
    (folder / "b").write_bytes(b"b")
    (folder / "deep" / "a").write_bytes(b"aa")
    ranks = Ranks(1)
    key = state_of(str(folder))
    ranks.digesters[0].want(key)
    assert ranks.digesters[0].wait(30)
    members = [one for one in ranks.written[0] if isinstance(one, records.Contained)]
    assert sorted((one.relative, one.size) for one in members) == [("b", 1), ("deep/a", 2)]
    ((_, found),) = ranks.digested()
    assert (found.state, found.content_size) == ("whole", 3)
    assert {(one.path, one.inode, one.modified_ns) for one in members} == {(found.path, found.inode, found.modified_ns)}


def test_names_that_are_no_unicode_can_be_written(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9"
    with open(name, "wb") as stream:  # noqa: PTH123 - a name as bytes
        stream.write(b"x")
    ranks = Ranks(1)
    ranks.digesters[0].want(stat_key(name))
    ((_, found),) = ranks.digested()
    assert found.state == "whole"
    assert wire.decode(wire.encode(found, 1, 0)) == (1, 0, found)
    assert StatKey._fields[0] == "path"


def test_what_a_rank_was_to_read_that_is_gone_is_read_by_another(tmp_path: Path) -> None:
    """Ranks 0 (the lead) and 1 are gone; of the files of 1, 2 and 3 none was read yet when they went."""
    ranks = Ranks(4)
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(path.name.encode() * 9)
    shared, own, read = map(stat_key, paths)
    for rank in (1, 2):
        ranks.digesters[rank].want(shared)
    ranks.digesters[3].want(own)
    ranks.digesters[3].want(read, at_once=True)
    chosen = ranks.digesters[0].assign(ranks.asked())
    assert chosen == {1: [0], 3: [0]}
    ranks.digesters[2].accept(chosen.get(2, []))  # rank 3 never heard the answer
    left = ranks.digesters[2:]
    for place, digester in enumerate(left):
        digester.rebind({2: 0, 3: 1}, leads=place == 0)
    ranks.digesters = left
    ranks.flush()
    assert sorted((rank, found.path) for rank, found in ranks.digested()) == [
        (2, str(paths[0])), (3, str(paths[1])), (3, str(paths[2])),
    ]  # fmt: skip


def test_a_lead_that_stays_gives_what_was_given_to_a_rank_that_is_gone_or_never_heard(file: Path) -> None:
    ranks = Ranks(3)
    key = stat_key(file)
    for rank in (1, 2):
        ranks.digesters[rank].want(key)
    chosen = ranks.digesters[0].assign(ranks.asked())
    assert chosen == {1: [0]}
    again = ranks.digesters[0].assign(ranks.asked())
    assert again == {1: [0]}, "it asks again, so it did not hear"
    ranks.digesters[2].accept([])
    del ranks.digesters[1]
    for place, digester in enumerate(ranks.digesters):
        digester.rebind({0: 0, 2: 1}, leads=place == 0)
    ranks.flush()
    assert [rank for rank, _ in ranks.digested()] == [2]
