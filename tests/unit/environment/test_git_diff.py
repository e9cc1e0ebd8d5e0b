"""How the code differs from its commit, held against what git itself says."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from provml_hpc.environment import git_diff
from provml_hpc.environment.code import code_facts
from provml_hpc.environment.git_repository import open_repository


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=x", "-c", "user.email=x@y", "-c", "core.autocrlf=false"]
    command = ["git", *who, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    for number in range(12):
        path = tmp_path / "ab"[number % 2] / f"{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"line {line} of {number}\n" for line in range(20)))
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "x")
    return tmp_path


def found(tree: Path) -> list[git_diff.Change]:
    repository = open_repository(tree)
    assert repository is not None
    return git_diff.changes(repository, 60)


def test_only_what_was_touched_is_read(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in tree.glob("[ab]/*.py"):
        os.utime(path, (1_700_000_000, 1_700_000_000))  # long before the index, so that its times can be trusted
    git(tree, "add", "-A")
    edited, touched = tree / "a" / "0.py", tree / "b" / "1.py"
    edited.write_text("other\n")
    touched.touch()
    read: list[bytes] = []
    now = git_diff._now

    def counted(repository: Any, entry: Any) -> bytes | None:
        read.append(entry.path)
        return now(repository, entry)

    monkeypatch.setattr(git_diff, "_now", counted)
    assert [one.path for one in found(tree)] == [b"a/0.py"]
    assert read == [b"a/0.py", b"b/1.py"]


@pytest.mark.parametrize("seed", range(6))
def test_the_paths_are_those_that_git_names(tree: Path, seed: int) -> None:
    chance = random.Random(seed)
    if seed % 2:
        git(tree, "gc", "-q")
    files = sorted(tree.glob("[ab]/*.py"))
    for path in chance.sample(files, 5):
        what = chance.choice(["edit", "delete", "stage", "remove", "touch", "restore"])
        if what in ("edit", "stage", "restore"):
            before = path.read_text()
            path.write_text(before.replace("line 3", f"changed {seed}"))
            if what != "edit":
                git(tree, "add", str(path))
            if what == "restore":
                path.write_text(before)
        elif what == "delete":
            path.unlink()
        elif what == "remove":
            git(tree, "rm", "-q", str(path))
        else:
            path.touch()
    (tree / "new.py").write_text("staged\n")
    git(tree, "add", "new.py")
    (tree / "untracked.py").write_text("not looked at\n")
    changes = found(tree)
    assert [one.path.decode() for one in changes] == git(tree, "diff", "HEAD", "--name-only").splitlines()
    repository = open_repository(tree)
    assert repository is not None
    patch = git_diff.text(repository, changes)
    assert "+staged\n" in patch
    assert "not looked at" not in patch
    # What git makes of the patch, laid on the commit, is what lies there.
    (tree / "untracked.py").unlink()
    git(tree, "reset", "-q", "--hard")
    subprocess.run(["git", "-C", str(tree), "apply", "-"], input=patch, text=True, check=True, timeout=60)
    git(tree, "add", "-A")
    assert git_diff.digest(found(tree)) == git_diff.digest(changes)


def test_a_digest_tells_changes_apart_and_is_absent_without_any(tree: Path) -> None:
    script = tree / "a" / "0.py"
    names = {fact.name for fact in code_facts(script, tree)}
    assert not {"code.diff_sha256", "code.diff"} & names
    digests = set()
    for text in ("one\n", "other\n", "one\n"):
        script.write_text(text)
        told = {fact.name: fact.value for fact in code_facts(script, tree)}
        assert (told["code.dirty"], told["code.changed"]) == ("true", 1)
        assert "code.diff" not in told
        digests.add(told["code.diff_sha256"])
    assert len(digests) == 2
    told = {fact.name: fact.value for fact in code_facts(script, tree, diff=True)}
    assert "+one\n" in str(told["code.diff"])
    (tree / "a" / "2.py").write_bytes(b"\0binary")
    told = {fact.name: fact.value for fact in code_facts(script, tree, diff=True)}
    assert "Binary files a/a/2.py and b/a/2.py differ\n" in str(told["code.diff"])


def test_too_little_time_is_a_reason(tree: Path) -> None:
    (tree / "a" / "0.py").write_text("x\n")
    repository = open_repository(tree)
    assert repository is not None
    with pytest.raises(git_diff.GitFormatError, match="took too long"):
        git_diff.changes(repository, 0)
