"""The state of the user's code, compared with what the git program says of the same repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from provml_hpc.environment.code import code_facts
from provml_hpc.environment.facts import Fact
from provml_hpc.environment.git_objects import GitFormatError, commit_tree, read_object
from provml_hpc.environment.git_repository import find_repository, open_repository, read_head, read_settings
from provml_hpc.environment.git_status import State, working_tree_state

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the git program builds the repositories")

SETTINGS = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always")


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, free of the settings of whoever runs the tests."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "LC_ALL": "C",
    }
    done = subprocess.run(
        ["git", *SETTINGS, *arguments],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.strip()


def rest(folder: Path) -> None:
    """Move all files into the past and let git see them, so that none was changed in the same instant as the index."""
    past = time.time() - 100
    for path in folder.rglob("*"):
        if ".git" not in path.parts and path.is_file() and not path.is_symlink():
            os.utime(path, (past, past))
    git(folder, "update-index", "-q", "--refresh")


def make(folder: Path, *options: str) -> Path:
    """Make a repository with one commit of a few files."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", "main", *options)
    (folder / "train.py").write_text("print(1)\n")
    (folder / "a.d").mkdir()
    (folder / "a").mkdir()
    # Names around the slash, where the order of trees is easily got wrong.
    for name in ("a/x.py", "a-b", "a.c", "a.d/y", "a0", "ünï"):
        (folder / name).write_text(name)
    (folder / "run.sh").write_text("true\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("train.py")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "one")
    rest(folder)
    return folder


def state(folder: Path, seconds: float = 60.0) -> State:
    repository = open_repository(folder)
    assert repository is not None
    return working_tree_state(repository, seconds)


def is_dirty(folder: Path) -> str:
    return "true" if git(folder, "status", "--porcelain", "--untracked-files=no") else "false"


def by_name(facts: list[Fact]) -> dict[str, Fact]:
    assert len({fact.name for fact in facts}) == len(facts)
    return {fact.name: fact for fact in facts}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make(tmp_path / "repository")


def test_facts_of_a_clean_repository(repository: Path) -> None:
    facts = by_name(code_facts(repository / "train.py", Path("/")))
    assert facts["code.commit"].value == git(repository, "rev-parse", "HEAD")
    assert facts["code.branch"].value == "main"
    assert facts["code.dirty"] == Fact("code.dirty", "false", "")
    assert facts["code.repository"].value == str(repository)
    assert facts["code.script_tracked"].value is True
    assert "code.remote" not in facts


def test_no_repository_gives_a_reason(tmp_path: Path) -> None:
    if find_repository(tmp_path) is not None:
        pytest.skip("the temporary folder lies in a repository itself")
    (fact,) = code_facts(tmp_path / "x.py", tmp_path)
    assert fact.name == "code.reason"


def test_working_directory_counts_when_the_script_lies_elsewhere(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    facts = by_name(code_facts(tmp_path / "bin" / "torchrun", repository / "a"))
    assert facts["code.commit"].value == git(repository, "rev-parse", "HEAD")
    assert facts["code.script_tracked"].value is False


def test_credentials_of_the_remote_are_hidden(repository: Path) -> None:
    git(repository, "remote", "add", "origin", "https://me:s3cret@example.org/r.git")
    fact = by_name(code_facts(repository / "train.py"))["code.remote"]
    assert fact.value == "https://[redacted]@example.org/r.git"


def _edit(folder: Path) -> None:
    (folder / "train.py").write_text("print(12)\n")


def _edit_same_size(folder: Path) -> None:
    (folder / "train.py").write_text("print(2)\n")


def _stage(folder: Path) -> None:
    _edit(folder)
    git(folder, "add", "train.py")


def _stage_and_take_back(folder: Path) -> None:
    _stage(folder)
    (folder / "train.py").write_text("print(1)\n")


def _stage_new(folder: Path) -> None:
    (folder / "a" / "new.py").write_text("")
    git(folder, "add", "a/new.py")


def _intend(folder: Path) -> None:
    (folder / "new.py").write_text("1")
    git(folder, "add", "-N", "new.py")


def _touch(folder: Path) -> None:
    os.utime(folder / "train.py")


def _untracked(folder: Path) -> None:
    (folder / "other.py").write_text("1")


def _relink(folder: Path) -> None:
    (folder / "link").unlink()
    (folder / "link").symlink_to("run.sh")


def _replace_folder(folder: Path) -> None:
    (folder / "a").rename(folder / "elsewhere")
    (folder / "a").symlink_to("elsewhere")


def _file_to_folder(folder: Path) -> None:
    (folder / "a0").unlink()
    (folder / "a0").mkdir()


def _skip_worktree(folder: Path) -> None:
    git(folder, "update-index", "--skip-worktree", "train.py")
    (folder / "train.py").unlink()


def _merge_conflict(folder: Path) -> None:
    git(folder, "checkout", "-q", "-b", "other")
    _edit(folder)
    git(folder, "commit", "-q", "-a", "-m", "two")
    git(folder, "checkout", "-q", "main")
    (folder / "train.py").write_text("print(3)\n")
    git(folder, "commit", "-q", "-a", "-m", "three")
    with pytest.raises(subprocess.CalledProcessError):
        git(folder, "merge", "other")


@pytest.mark.parametrize("version", ["2", "3", "4"])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_edit, "true"),
        (_edit_same_size, "true"),
        (_stage, "true"),
        (_stage_and_take_back, "true"),
        (_stage_new, "true"),
        (_intend, "true"),
        (_touch, "false"),
        (_untracked, "false"),
        (_relink, "true"),
        (_replace_folder, "true"),
        (_file_to_folder, "true"),
        (_skip_worktree, "false"),
        (_merge_conflict, "true"),
        (lambda folder: (folder / "a" / "x.py").unlink(), "true"),
        (lambda folder: shutil.rmtree(folder / "a"), "true"),
        (lambda folder: (folder / "run.sh").chmod(0o644), "true"),
        (lambda folder: git(folder, "rm", "-q", "--cached", "a0"), "true"),
        (lambda folder: (folder / ".git" / "index").unlink(), "true"),
        (lambda folder: None, "false"),
    ],
)
def test_agrees_with_git(repository: Path, change, expected: str, version: str) -> None:  # type: ignore[no-untyped-def]
    git(repository, "update-index", "--index-version", version)
    rest(repository)
    change(repository)
    found = state(repository)
    assert (found.dirty, is_dirty(repository)) == (expected, expected)
    assert bool(found.reason) == (expected == "true")


def test_a_change_in_the_instant_of_the_index_is_seen(repository: Path) -> None:
    stamp = (repository / ".git" / "index").stat().st_mtime_ns
    os.utime(repository / "train.py", ns=(stamp, stamp))
    git(repository, "update-index", "-q", "--refresh")
    os.utime(repository / ".git" / "index", ns=(stamp, stamp))
    (repository / "train.py").write_text("print(2)\n")
    os.utime(repository / "train.py", ns=(stamp, stamp))
    assert state(repository).dirty == "true"


def test_no_time_means_unknown(repository: Path) -> None:
    found = state(repository, seconds=-1.0)
    assert found.dirty == "unknown"
    assert "long" in found.reason


def test_packed_references_and_objects(repository: Path) -> None:
    git(repository, "tag", "-a", "-m", "t", "v1")
    git(repository, "gc", "-q", "--aggressive", "--prune=now")
    assert not (repository / ".git" / "refs" / "heads" / "main").exists()
    assert not list((repository / ".git" / "objects").glob("??"))
    assert state(repository) == State("false", "")
    assert by_name(code_facts(repository / "train.py"))["code.commit"].value == git(repository, "rev-parse", "HEAD")
    _stage(repository)
    assert state(repository) == State("true", "changes are staged")


def test_every_packed_commit_is_read_through_its_deltas(repository: Path) -> None:
    for number in range(40):
        # Long messages that hardly differ make git store commits as deltas of each other.
        git(repository, "commit", "-q", "--allow-empty", "-m", "a long message " * 200 + str(number))
    git(repository, "gc", "-q", "--aggressive", "--prune=now")
    listing = git(repository, "verify-pack", "-v", *map(str, (repository / ".git/objects/pack").glob("*.idx")))
    deltas = [line.split() for line in listing.splitlines() if " commit " in line and len(line.split()) == 7]
    assert deltas, "git made no deltas, so this test would show nothing"
    objects = repository / ".git" / "objects"
    for name in git(repository, "rev-list", "HEAD").split():
        found = read_object(objects, bytes.fromhex(name))
        assert found is not None
        assert found[0] == b"commit"
        assert found[1].decode().strip() == git(repository, "cat-file", "-p", name).strip()


def test_alternates_hold_the_commit(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--shared", str(repository), "clone")
    assert not list((tmp_path / "clone" / ".git" / "objects").glob("??"))
    rest(tmp_path / "clone")
    assert state(tmp_path / "clone") == State("false", "")


def test_a_missing_commit_is_unknown_not_clean(repository: Path) -> None:
    name = git(repository, "rev-parse", "HEAD")
    (repository / ".git" / "objects" / name[:2] / name[2:]).unlink()
    assert state(repository).dirty == "unknown"
    _edit(repository)
    assert state(repository).dirty == "true"


def test_a_damaged_object_is_unknown(repository: Path) -> None:
    name = git(repository, "rev-parse", "HEAD")
    path = repository / ".git" / "objects" / name[:2] / name[2:]
    path.chmod(0o644)
    path.write_bytes(b"no zlib")
    with pytest.raises(GitFormatError):
        commit_tree(repository / ".git" / "objects", bytes.fromhex(name))
    assert state(repository).dirty == "unknown"


@pytest.mark.parametrize("cut", [0, 11, 40, 100, -30])
def test_a_damaged_index_is_unknown(repository: Path, cut: int) -> None:
    index = repository / ".git" / "index"
    index.write_bytes(index.read_bytes()[:cut])
    assert state(repository).dirty == "unknown"


def test_a_split_index_is_unknown(repository: Path) -> None:
    git(repository, "update-index", "--split-index")
    assert state(repository).dirty == "unknown"


def test_detached_head(repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    facts = by_name(code_facts(repository / "train.py"))
    assert "code.branch" not in facts
    assert facts["code.commit"].value == git(repository, "rev-parse", "HEAD")


def test_worktree(repository: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    git(repository, "worktree", "add", "-q", "-b", "feature/x", str(tree))
    rest(tree)
    facts = by_name(code_facts(tree / "train.py"))
    assert (facts["code.branch"].value, facts["code.dirty"].value) == ("feature/x", "false")
    (tree / "train.py").write_text("changed")
    assert (state(tree).dirty, state(repository).dirty) == ("true", "false")


def test_empty_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "trunk")
    facts = by_name(code_facts(tmp_path / "x.py", tmp_path))
    assert facts["code.branch"].value == "trunk"
    assert "code.commit" not in facts
    assert facts["code.commit.reason"].value == facts["code.dirty"].comment == "there is no commit yet"
    assert facts["code.dirty"].value == "unknown"


def test_sha256_repository(tmp_path: Path) -> None:
    folder = make(tmp_path / "r", "--object-format=sha256")
    assert state(folder) == State("false", "")
    assert len(str(by_name(code_facts(folder / "train.py"))["code.commit"].value)) == 64
    git(folder, "gc", "-q")
    _stage(folder)
    assert state(folder).dirty == "true"


class TestSubmodule:
    @pytest.fixture
    def outer(self, repository: Path, tmp_path: Path) -> Path:
        inner = make(tmp_path / "inner")
        git(repository, "submodule", "--quiet", "add", str(inner), "lib")
        git(repository, "commit", "-q", "-m", "with a submodule")
        rest(repository)
        rest(repository / "lib")
        return repository

    def test_clean(self, outer: Path) -> None:
        assert state(outer) == State("false", "")

    def test_script_inside_belongs_to_the_submodule(self, outer: Path) -> None:
        facts = by_name(code_facts(outer / "lib" / "train.py"))
        assert facts["code.repository"].value == str(outer / "lib")
        assert facts["code.commit"].value == git(outer / "lib", "rev-parse", "HEAD")

    def test_changed_inside(self, outer: Path) -> None:
        _edit(outer / "lib")
        found = state(outer)
        assert (found.dirty, is_dirty(outer)) == ("true", "true")
        assert "lib" in found.reason

    def test_other_commit(self, outer: Path) -> None:
        git(outer / "lib", "commit", "-q", "--allow-empty", "-m", "two")
        assert (state(outer).dirty, is_dirty(outer)) == ("true", "true")

    def test_not_checked_out(self, outer: Path) -> None:
        git(outer, "submodule", "--quiet", "deinit", "-f", "lib")
        rest(outer)
        assert (state(outer).dirty, is_dirty(outer)) == ("false", "false")


def test_sparse_checkout_with_a_sparse_index(repository: Path) -> None:
    git(repository, "sparse-checkout", "set", "--cone", "--sparse-index", "a")
    rest(repository)
    assert not (repository / "a.d").exists()
    assert (state(repository).dirty, is_dirty(repository)) == ("false", "false")
    _edit(repository)
    assert state(repository).dirty == "true"


def test_filters_make_a_difference_unknown(repository: Path) -> None:
    (repository / ".gitattributes").write_text("*.bin filter=lfs\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "two")
    rest(repository)
    _edit(repository)
    assert state(repository).dirty == "unknown"


def test_line_ends_are_unknown(repository: Path) -> None:
    (repository / "train.py").write_bytes(b"print(1)\r\n")
    assert state(repository).dirty == "unknown"


def test_references_in_a_table_are_unknown(repository: Path) -> None:
    with (repository / ".git" / "config").open("a") as file:
        file.write("[extensions]\n\trefStorage = reftable\n")
    opened = open_repository(repository)
    assert opened is not None
    assert read_head(opened).commit is None
    assert working_tree_state(opened).dirty == "unknown"


@pytest.mark.parametrize("head", ["ref: ../../secret", "ref: refs/../../secret", "", "ref: refs/heads/loop", "0123"])
def test_a_damaged_head_is_no_commit(repository: Path, head: str) -> None:
    (repository / "secret").write_text("0" * 40)
    (repository / ".git" / "refs" / "heads" / "loop").write_text("ref: refs/heads/loop\n")
    (repository / ".git" / "HEAD").write_text(head)
    opened = open_repository(repository)
    assert opened is not None
    found = read_head(opened)
    assert found.commit is None
    assert found.reason


def test_settings_are_read_as_git_reads_them(repository: Path) -> None:
    text = '[core]\n\tfileMode = false # why\n[remote "a.B"]\n url = "x # y" ; z\n'
    text += '[user]name=N\n bare\n[x "q\\"r"]\nk = a\\\\b'
    (repository / "settings").write_text(text)
    listed = git(repository, "config", "--file", "settings", "--list")
    assert read_settings(text) == dict(
        line.partition("=")[::2] if "=" in line else (line, "true") for line in listed.splitlines()
    )
