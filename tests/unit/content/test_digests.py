"""Identity of files: whole, sampled, or given."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provml_hpc.content import (
    Digest,
    DigestCancelledError,
    digest_file,
    full_digest_limit,
    parse_digest,
    parse_size,
    stat_key,
)
from provml_hpc.errors import UsageError
from tests.unit.content.made import LARGE, sha256


class TestFile:
    @pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1])
    def test_whole(self, tmp_path: Path, size: int) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"a" * size)
        assert digest_file(path) == Digest("sha256", sha256(b"a" * size), size, weak=False, changed=False)

    def test_empty_never_joins(self, tmp_path: Path) -> None:
        (tmp_path / "x").touch()
        assert not digest_file(tmp_path / "x").joins
        (tmp_path / "x").write_bytes(b"1")
        assert digest_file(tmp_path / "x").joins

    def test_sample_is_as_documented(self, large: Path) -> None:
        found = digest_file(large, full_limit=0)
        data = large.read_bytes()
        parts = [b"provml-sample-1\n", LARGE.to_bytes(8, "little")]
        for number in range(64):
            offset = (number * (LARGE - 65536)) // 63
            parts += [offset.to_bytes(8, "little"), data[offset : offset + 65536]]
        assert parts[-1] == data[-65536:]
        assert found == Digest("provml-sample-1", sha256(b"".join(parts)), LARGE, weak=True)

    def test_sample_misses_what_lies_between_and_is_weak(self, large: Path) -> None:
        before, full = digest_file(large, full_limit=0), digest_file(large, whole=True)
        with large.open("r+b") as file:
            file.seek(65536 + 10)
            file.write(b"\0\1\2")
        assert digest_file(large, full_limit=0) == before
        assert before.weak
        assert digest_file(large, full_limit=0, whole=True).hexdigest != full.hexdigest

    def test_limit_is_the_setting(self, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert digest_file(large).algorithm == "sha256"
        monkeypatch.setenv("PROVML_FULL_DIGEST_LIMIT", "1 MiB")
        assert digest_file(large).algorithm == "provml-sample-1"
        assert digest_file(large, full_limit=LARGE).algorithm == "sha256"
        monkeypatch.setenv("PROVML_FULL_DIGEST_LIMIT", "much")
        with pytest.raises(UsageError, match="PROVML_FULL_DIGEST_LIMIT"):
            full_digest_limit()

    def test_links_are_followed_and_kept_in_the_name(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"1")
        (tmp_path / "link").symlink_to("x")
        key = stat_key(tmp_path / "sub" / ".." / "link")
        assert key == stat_key(tmp_path / "x")._replace(path=str(tmp_path / "link"))
        assert digest_file(tmp_path / "link").hexdigest == sha256(b"1")

    def test_relative_paths(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "x").write_bytes(b"1")
        monkeypatch.chdir(tmp_path)
        assert stat_key("./x").path == str(tmp_path / "x")
        assert not digest_file("x").changed

    def test_odd_names(self, tmp_path: Path) -> None:
        path = os.fsencode(tmp_path) + b"/\xff\n x"
        Path(os.fsdecode(path)).write_bytes(b"1")
        assert os.fsencode(stat_key(os.fsdecode(path)).path) == path
        assert not digest_file(os.fsdecode(path)).changed

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
            with pytest.raises((UsageError, IsADirectoryError)):
                digest_file(path)
        with pytest.raises(FileNotFoundError):
            digest_file(tmp_path / "missing")

    def test_stop(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"1")
        stop = threading.Event()
        stop.set()
        with pytest.raises(DigestCancelledError):
            digest_file(tmp_path / "x", stop=stop)

    @pytest.mark.parametrize("change", ["grow", "cut", "replace", "remove", "touch"])
    def test_a_change_while_reading_is_told(self, large: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def act() -> None:
            if change == "grow":
                with large.open("ab") as file:
                    file.write(b"1")
            elif change == "cut":
                os.truncate(large, 100)
            elif change == "replace":
                other = large.with_name("other")
                other.write_bytes(large.read_bytes())
                other.replace(large)
            elif change == "remove":
                large.unlink()
            else:
                os.utime(large, ns=(1, 1))

        readv = os.readv
        done: list[bool] = []

        def readv_and_change(descriptor: int, buffers: list[memoryview]) -> int:
            count = readv(descriptor, buffers)
            if not done:
                done.append(True)
                act()
            return count

        monkeypatch.setattr(os, "readv", readv_and_change)
        found = digest_file(large)
        assert done
        assert found.changed
        assert not found.joins

    @pytest.mark.parametrize("limit", [None, 0])
    def test_another_state_than_expected_is_told_and_not_read(
        self, limit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "x").write_bytes(b"1")
        key = stat_key(tmp_path / "x")
        assert not digest_file(tmp_path / "x", full_limit=limit, expected=key).changed
        with (tmp_path / "x").open("r+b") as file:
            file.truncate(5 << 20)
        monkeypatch.delattr(os, "readv")
        monkeypatch.delattr(os, "pread")
        found = digest_file(tmp_path / "x", full_limit=limit, expected=key)
        assert found == Digest("sha256" if limit is None else "provml-sample-1", "", 5 << 20, limit == 0, changed=True)
        assert not found.joins


class TestGivenDigest:
    def test_known_algorithms(self) -> None:
        digest = parse_digest(f" SHA-256:{'AB' * 32} ", size=5)
        assert digest == Digest("sha256", "ab" * 32, 5)
        assert str(digest) == f"sha256:{'ab' * 32}"
        assert parse_digest(str(digest), 5) == digest
        assert parse_digest(digest) is digest

    @pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512", "blake2b", "sha3_256"])
    def test_of_nothing_never_joins(self, algorithm: str) -> None:
        assert not parse_digest(f"{algorithm}:{hashlib.new(algorithm).hexdigest()}").joins
        assert parse_digest(f"{algorithm}:{hashlib.new(algorithm, b'1').hexdigest()}").joins

    def test_other_algorithms_as_they_stand(self) -> None:
        assert parse_digest("etag:aBc-3/+==") == Digest("etag", "aBc-3/+==", None)
        assert parse_digest("crc32:12345678").weak
        assert parse_digest(f"provml-sample-1:{'0' * 64}").weak
        assert not parse_digest(f"xxh128:{'0' * 32}").weak

    @pytest.mark.parametrize(
        "text",
        [
            "",
            ":",
            "sha256",
            "sha256:",
            "sha256:12",
            f"sha256:{'g' * 64}",
            "md5:" + "0" * 33,
            "a b:1234",
            "x:1",
            "x:a b cd",
            "x:a\n34",
        ],
    )
    def test_malformed(self, text: str) -> None:
        with pytest.raises(UsageError):
            parse_digest(text)

    @given(st.text(max_size=100))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            digest = parse_digest(text)
        except UsageError:
            return
        assert parse_digest(str(digest)) == digest

    @pytest.mark.parametrize(
        ("text", "expected"),
        [("0", 0), (12, 12), ("4G", 2**32), ("1.5 GiB", 3 * 2**29), ("2 MB", 2_000_000), ("7 b", 7)],
    )
    def test_sizes(self, text: str | int, expected: int) -> None:
        assert parse_size(text) == expected

    @pytest.mark.parametrize("text", ["", "-1", "MiB", "1 parsec", "1e9", "٣"])
    def test_no_sizes(self, text: str) -> None:
        with pytest.raises(UsageError):
            parse_size(text)
