"""Identity of directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provml_hpc.content import (
    Digest,
    StatKey,
    digest_directory,
    stat_key,
)
from provml_hpc.errors import UsageError
from tests.unit.content.made import sha256


class TestDirectory:
    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        root = tmp_path / "tree"
        (root / "b").mkdir(parents=True)
        (root / "a").mkdir()
        (root / "empty").mkdir()
        for name in ("b/2", "a/1", "a.x", ".hidden"):
            (root / name).write_text(name)
        return root

    def test_is_as_documented(self, tree: Path) -> None:
        found = digest_directory(tree)
        names = sorted(["b/2", "a/1", "a.x", ".hidden"])
        lines = "".join(f"sha256:{sha256(name.encode())} {len(name)} {name}\0" for name in names)
        assert found.digest == Digest("sha256-tree", sha256(lines.encode()), sum(map(len, names)))
        assert [member.path for member in found.members] == names
        assert found.members[0].key == stat_key(tree / ".hidden")
        assert (found.member_count, found.skipped) == (4, ())

    def test_does_not_depend_on_the_place(self, tree: Path) -> None:
        before = digest_directory(tree).digest
        other = tree.rename(tree.with_name("moved"))
        assert digest_directory(other).digest == before
        (other / "a" / "1").rename(other / "a" / "3")
        assert digest_directory(other).digest != before

    def test_links(self, tree: Path, tmp_path: Path) -> None:
        (tmp_path / "outside").write_text("secret")
        (tree / "in").symlink_to("a/1")
        before = digest_directory(tree)
        assert [member.path for member in before.members] == [".hidden", "a.x", "a/1", "b/2", "in"]
        (tree / "out").symlink_to("../outside")
        (tree / "loop").symlink_to("..")
        (tree / "self").symlink_to("self")
        (tree / "a" / "up").symlink_to("../b")
        (tree / "broken").symlink_to("nothing")
        found = digest_directory(tree)
        assert found.members == before.members
        assert [name for name, _ in found.skipped] == ["a/up", "broken", "loop", "out", "self"]
        assert found.digest != before.digest
        assert not found.digest.weak
        # The bytes outside do not count, the name of the target does.
        (tmp_path / "outside").write_text("other")
        assert digest_directory(tree).digest == found.digest
        (tree / "out").unlink()
        (tree / "out").symlink_to("../elsewhere")
        assert digest_directory(tree).digest != found.digest

    def test_special_files_are_skipped(self, tree: Path) -> None:
        before = digest_directory(tree).digest
        os.mkfifo(tree / "pipe")
        found = digest_directory(tree)
        assert found.digest == before
        assert found.skipped == (("pipe", "not a regular file"),)

    def test_unreadable_makes_it_weak(self, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = digest_directory(tree).digest
        real = os.open

        # By hand, since the superuser reads everything.
        def refuse(path: str, flags: int) -> int:
            if path.endswith("a.x"):
                raise PermissionError(13, "Permission denied")
            return real(path, flags)

        monkeypatch.setattr(os, "open", refuse)
        found = digest_directory(tree)
        assert found.digest.weak
        assert found.digest.algorithm == "provml-sample-tree-1"
        assert found.digest.hexdigest != before.hexdigest
        assert found.skipped == (("a.x", "cannot be read: Permission denied"),)

    def test_large_members_are_sampled_when_there_is_much(self, tree: Path, large: Path) -> None:
        large.rename(tree / "large")
        assert digest_directory(tree).digest.algorithm == "sha256-tree"
        sampled = digest_directory(tree, full_limit=2**10)
        assert sampled.digest.algorithm == "provml-sample-tree-1"
        assert sampled.digest.weak
        assert {member.path: member.digest.algorithm for member in sampled.members} == {
            ".hidden": "sha256",
            "a.x": "sha256",
            "a/1": "sha256",
            "b/2": "sha256",
            "large": "provml-sample-1",
        }
        assert digest_directory(tree, full_limit=2**10, whole=True).digest.algorithm == "sha256-tree"

    def test_what_was_asked_before_does_not_change_the_digest(self, tree: Path, large: Path) -> None:
        large.rename(tree / "large")
        known: dict[tuple[StatKey, bool], Digest] = {}
        alone = digest_directory(tree, full_limit=2**10)
        digest_directory(tree, known=known)
        assert len(known) == 5
        assert digest_directory(tree, full_limit=2**10, known=known) == alone

    def test_list_is_bounded_and_the_digest_is_not(self, tree: Path) -> None:
        full, short = digest_directory(tree), digest_directory(tree, member_limit=2)
        assert short.digest == full.digest
        assert short.members == full.members[:2]
        assert short.member_count == 4

    def test_names_that_come_meanwhile_are_told(self, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        readv = os.readv

        def readv_and_add(descriptor: int, buffers: list[memoryview]) -> int:
            (tree / "b" / "new").touch()
            return readv(descriptor, buffers)

        os.utime(tree / "b", ns=(1, 1))
        monkeypatch.setattr(os, "readv", readv_and_add)
        assert digest_directory(tree).digest.changed

    def test_odd_names(self, tmp_path: Path) -> None:
        root = tmp_path / "t"
        root.mkdir()
        Path(os.fsdecode(os.fsencode(root) + b"/\xff\n")).write_bytes(b"1")
        found = digest_directory(root)
        line = f"sha256:{sha256(b'1')} 1 ".encode() + b"\xff\n\0"
        assert found.digest.hexdigest == sha256(line)

    def test_empty_and_wrong(self, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir()
        assert not digest_directory(tmp_path / "d").digest.joins
        (tmp_path / "f").touch()
        with pytest.raises(UsageError):
            digest_directory(tmp_path / "f")
        with pytest.raises(FileNotFoundError):
            digest_directory(tmp_path / "missing")
