"""Identity of files, directories and arrays, and the worker that finds it."""

from __future__ import annotations

import array
import hashlib
import os
import random
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provml_hpc import content
from provml_hpc.content import (
    Digest,
    DigestCancelledError,
    Hasher,
    StatKey,
    TreeDigest,
    digest_array,
    digest_directory,
    digest_file,
    full_digest_limit,
    parse_digest,
    parse_size,
    stat_key,
)
from provml_hpc.content import worker as worker_module
from provml_hpc.errors import UsageError

LARGE = content.SAMPLE_TOTAL + 12345


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(random.Random(1).randbytes(LARGE))
    return path


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


class TestArray:
    def test_is_as_documented(self) -> None:
        data = np.arange(12, dtype="<f8").reshape(3, 4)
        expected = sha256(b"sha256-array\n<f8\n3,4\n" + data.tobytes())
        assert digest_array(data) == Digest("sha256-array", expected, 96)

    @pytest.mark.parametrize(
        "same",
        [
            lambda a: np.asfortranarray(a),
            lambda a: np.repeat(a, 2, axis=1)[:, ::2],
            lambda a: a[::-1].copy()[::-1],
            lambda a: memoryview(a.data),
            lambda a: np.asfortranarray(a).data,
        ],
    )
    def test_layout_does_not_matter(self, same) -> None:  # type: ignore[no-untyped-def]
        data = np.arange(12, dtype="<i4").reshape(3, 4)
        assert digest_array(same(data)) == digest_array(data)

    @pytest.mark.parametrize(
        "other",
        [
            lambda a: a.reshape(4, 3),
            lambda a: a.astype("<i8"),
            lambda a: a.astype(">i4"),
            lambda a: a.view("<f4"),
            lambda a: a.T,
            lambda a: a + 1,
        ],
    )
    def test_type_shape_and_values_matter(self, other) -> None:  # type: ignore[no-untyped-def]
        data = np.arange(12, dtype="<i4").reshape(3, 4)
        assert digest_array(other(data)) != digest_array(data)

    def test_more_than_a_slab(self) -> None:
        data = np.arange(2**22 + 7, dtype="<f8")[::2]
        expected = sha256(f"sha256-array\n<f8\n{data.size}\n".encode() + data.tobytes())
        assert digest_array(data).hexdigest == expected

    @pytest.mark.parametrize(
        "data",
        [
            np.float32(1.5),
            np.array(3),
            np.array(["a", "bc"]),
            np.array([b"a"]),
            np.array(["2020-01-01"], "M8[ns]"),
            np.zeros(2, [("x", "<f4"), ("y", "<i8", 2)]),
            np.array([True]),
            np.array([1j]),
        ],
    )
    def test_any_type_without_objects(self, data: np.ndarray) -> None:
        found = digest_array(data)
        assert (found.size, found.joins) == (data.nbytes, True)

    def test_standard_buffers_agree_with_numpy(self) -> None:
        for code in "bBhHiIlLqQfd":
            plain = array.array(code, [1, 2, 3])
            assert digest_array(plain) == digest_array(np.array(plain)), code
        assert digest_array(b"abc") == digest_array(np.frombuffer(b"abc", np.uint8))

    @pytest.mark.parametrize("data", [b"", np.zeros((0, 3)), np.zeros((3, 0)), np.zeros((3, 0)).data])
    def test_empty_never_joins(self, data: object) -> None:
        found = digest_array(data)
        assert (found.size, found.joins) == (0, False)

    @pytest.mark.parametrize(
        "data",
        [np.array([object()]), np.ma.array([1, 2], mask=[True, False]), [1, 2], "text", 3, None],
    )
    def test_what_has_no_bytes(self, data: object) -> None:
        with pytest.raises(UsageError):
            digest_array(data)

    def test_tensors_come_through_numpy(self) -> None:
        class Tensor:
            def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
                return np.arange(3)

        class Elsewhere(Tensor):
            def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
                raise TypeError("on a GPU")

        assert digest_array(Tensor()) == digest_array(np.arange(3))
        with pytest.raises(UsageError, match="on a GPU"):
            digest_array(Elsewhere())

    def test_without_numpy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = array.array("d", [1.0, 2.0])
        expected = digest_array(np.array(plain))
        monkeypatch.delitem(sys.modules, "numpy")
        assert digest_array(plain) == expected


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


class Collector:
    """Takes what a hasher delivers."""

    def __init__(self) -> None:
        self.results: list[tuple[StatKey, object]] = []
        self.threads: set[str] = set()

    def __call__(self, key: StatKey, result: object) -> None:
        self.threads.add(threading.current_thread().name)
        self.results.append((key, result))


class TestHasher:
    @pytest.fixture
    def reads(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """List the files that are really read."""
        names: list[str] = []
        real = os.open

        def note(path: str, flags: int) -> int:
            names.append(path)
            return real(path, flags)

        monkeypatch.setattr(os, "open", note)
        return names

    def test_delivers_in_its_own_thread(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"1")
        taken = Collector()
        hasher = Hasher(taken)
        assert not [thread for thread in threading.enumerate() if thread.name == "provml-hasher"]
        key = stat_key(tmp_path / "x")
        assert hasher.submit(key)
        assert hasher.wait(60)
        assert taken.results == [(key, Digest("sha256", sha256(b"1"), 1))]
        assert taken.threads == {"provml-hasher"}
        assert hasher.close(60) == []
        assert not hasher.submit(key)
        assert len(taken.results) == 1

    def test_each_state_is_read_once_and_each_job_delivered(self, tmp_path: Path, reads: list[str]) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"1")
        taken = Collector()
        hasher = Hasher(taken)
        for _ in range(3):
            hasher.submit(stat_key(path))
        assert hasher.wait(60)
        path.write_bytes(b"22")
        hasher.submit(stat_key(path))
        assert hasher.close(60) == []
        assert [result.hexdigest for _, result in taken.results] == [sha256(b"1")] * 3 + [sha256(b"22")]  # type: ignore[attr-defined]
        assert reads == [str(path)] * 2

    def test_whole_on_request(self, large: Path, reads: list[str]) -> None:
        taken = Collector()
        hasher = Hasher(taken, full_limit=0)
        key = stat_key(large)
        for whole in (False, True, True, False):
            hasher.submit(key, whole=whole)
        assert hasher.close(60) == []
        names = [result.algorithm for _, result in taken.results]  # type: ignore[attr-defined]
        assert names == ["provml-sample-1", "sha256", "sha256", "provml-sample-1"]
        assert len(reads) == 2

    def test_directories_share_what_is_known_of_their_files(self, tmp_path: Path, reads: list[str]) -> None:
        (tmp_path / "d").mkdir()
        for name in "abc":
            (tmp_path / "d" / name).write_text(name)
        taken = Collector()
        hasher = Hasher(taken)
        hasher.submit(stat_key(tmp_path / "d" / "a"))
        hasher.submit(stat_key(tmp_path / "d"))
        assert hasher.wait(60)
        (tmp_path / "d" / "b").write_text("changed")
        hasher.submit(stat_key(tmp_path / "d"))
        assert hasher.close(60) == []
        first, second = taken.results[1][1], taken.results[2][1]
        assert isinstance(first, TreeDigest)
        assert isinstance(second, TreeDigest)
        assert first.digest != second.digest == digest_directory(tmp_path / "d").digest
        assert [Path(name).name for name in reads[:4]] == ["a", "b", "c", "b"]

    def test_errors_are_delivered(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"1")
        key = stat_key(tmp_path / "x")
        (tmp_path / "x").unlink()
        taken = Collector()
        hasher = Hasher(taken)
        hasher.submit(key)
        assert hasher.close(60) == []
        assert isinstance(taken.results[0][1], FileNotFoundError)

    def test_a_file_that_changed_since_is_told_and_not_kept(self, tmp_path: Path, reads: list[str]) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"1")
        key = stat_key(path)
        path.write_bytes(b"22")
        taken = Collector()
        hasher = Hasher(taken)
        hasher.submit(key)
        hasher.submit(key)
        assert hasher.close(60) == []
        assert all(result.changed for _, result in taken.results)  # type: ignore[attr-defined]
        assert len(reads) == 2

    def test_a_failing_receiver_does_not_end_it(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"1")
        calls: list[StatKey] = []

        def fail(key: StatKey, result: object) -> None:
            calls.append(key)
            raise KeyError("mine")

        hasher = Hasher(fail)
        hasher.submit(stat_key(tmp_path / "x"))
        hasher.submit(stat_key(tmp_path / "x"))
        assert hasher.close(60) == []
        assert len(calls) == 2
        assert isinstance(hasher.error, KeyError)

    def test_the_receiver_may_submit(self, tmp_path: Path) -> None:
        for name in "ab":
            (tmp_path / name).write_text(name)
        names: list[str] = []

        def go_on(key: StatKey, result: object) -> None:
            names.append(Path(key.path).name)
            if key.path.endswith("a"):
                hasher.submit(stat_key(tmp_path / "b"))

        hasher = Hasher(go_on)
        hasher.submit(stat_key(tmp_path / "a"))
        assert hasher.wait(60)
        assert names == ["a", "b"]
        hasher.close(60)

    def test_ends_when_idle_and_starts_again(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"1")
        taken = Collector()
        hasher = Hasher(taken, idle=0.0)
        for number in (1, 2):
            hasher.submit(stat_key(tmp_path / "x"))
            assert hasher.wait(60)
            thread = next((t for t in threading.enumerate() if t.name == "provml-hasher"), None)
            if thread is not None:
                thread.join(60)
                assert not thread.is_alive()
            assert len(taken.results) == number
        hasher.close(60)

    def test_close_gives_up_what_is_not_ready(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in "ab":
            (tmp_path / name).write_text(name)
        reading = threading.Event()

        def stuck(path: str, *, stop: threading.Event, **_: object) -> Digest:
            reading.set()
            assert stop.wait(60)
            raise DigestCancelledError("given up")

        monkeypatch.setattr(worker_module, "digest_file", stuck)
        taken = Collector()
        hasher = Hasher(taken)
        keys = [stat_key(tmp_path / name) for name in "ab"]
        for key in keys:
            hasher.submit(key)
        assert reading.wait(60)
        assert not hasher.wait(0.0)
        assert hasher.close(0.0) == keys
        assert hasher.close(0.0) == []
        assert taken.results == []

    def test_a_forked_child_does_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"1")
        key = stat_key(tmp_path / "x")
        taken = Collector()
        hasher = Hasher(taken)
        # The state in which a fork is worst: another thread holds the lock, which in the child nobody will ever open.
        with hasher._changed:
            child = os.fork()
            if child == 0:
                inert = not hasher.submit(key) and hasher.wait(None) and hasher.close(None) == []
                os._exit(0 if inert and not taken.results else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert hasher.submit(key)
        assert hasher.close(60) == []
        assert len(taken.results) == 1
