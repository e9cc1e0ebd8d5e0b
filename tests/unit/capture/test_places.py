"""Where a journal goes, and how large it may be."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from provml_hpc.capture.places import candidates, open_journal, parse_bytes
from provml_hpc.errors import StorageError, UsageError
from provml_hpc.journal import Journal, own_folder
from provml_hpc.records import Source

RUN = "3f0d2a44-1111-4222-8333-0123456789ab"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64 MiB", 64 << 20), ("64MiB", 64 << 20), ("1 GiB", 1 << 30), ("1.5 mb", 1_500_000), ("100 KB", 100_000),
        (65536, 65536), ("65536", 65536), (" 2 gb ", 2 * 10**9), ("70000 B", 70000),
    ],
)  # fmt: skip
def test_a_size_is_a_number_or_text(text: str | int, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "64 quux", "-1 MiB", "1 KiB", 0, True, None, "inf", "nan MiB", "1e400"])
def test_what_is_no_size_is_said_with_what_to_write(text: object) -> None:
    with pytest.raises(UsageError, match="64"):
        parse_bytes(text)  # type: ignore[arg-type]


def test_the_places_in_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLURM_TMPDIR", "/local")
    hidden, node = tmp_path / ".hidden", Path("/local") / own_folder(RUN)
    assert list(candidates("output", hidden, RUN))[:2] == [hidden, node]
    places = list(candidates("node", hidden, RUN))
    assert (places[0], places[-1]) == (node, hidden)
    places = list(candidates(str(tmp_path), hidden, RUN))
    assert (places[0], places[1], places[-1]) == (tmp_path / own_folder(RUN), node, hidden)


def make(folder: Path) -> Journal:
    return Journal(folder, Source(1, 0, 0), RUN, {}, 64 << 10)


def test_the_next_place_is_taken_where_one_has_no_room(tmp_path: Path) -> None:
    full, good = tmp_path / "full", tmp_path / "good"

    def refuse_full(folder: Path) -> Journal:
        if folder == full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return make(folder)

    journal, folder, troubles = open_journal(iter([tmp_path / "a" / "b", full, good]), refuse_full)
    assert folder == good
    assert [str(tmp_path / "a" / "b") in troubles[0], "No space left" in troubles[1]] == [True, True]
    journal.close(remove=True)


def test_a_planted_link_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    journal, folder, _ = open_journal(iter([tmp_path / "link", tmp_path / "good"]), make)
    assert folder == tmp_path / "good"
    assert list((tmp_path / "theirs").iterdir()) == []
    journal.close(remove=True)


def test_no_place_at_all_says_what_was_wrong_with_each(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="journal=PATH") as caught:
        open_journal(iter([tmp_path / "a" / "b", tmp_path / "c" / "d"]), make)
    assert str(tmp_path / "a" / "b") in str(caught.value)
    assert str(tmp_path / "c" / "d") in str(caught.value)
