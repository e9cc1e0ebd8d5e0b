"""The version of the user's code: git commit, branch, and whether the working tree is what the commit says."""

from __future__ import annotations

import os
from pathlib import Path

from provml_hpc.environment import git_diff
from provml_hpc.environment.facts import Fact
from provml_hpc.environment.git_index import read_index
from provml_hpc.environment.git_objects import GitFormatError
from provml_hpc.environment.git_repository import Repository, find_repository, read_head
from provml_hpc.environment.git_status import working_tree_state
from provml_hpc.environment.host import script_path
from provml_hpc.environment.redaction import redact_text


def code_facts(
    script: Path | None = None, directory: Path | None = None, seconds: float = 2.0, *, diff: bool = False
) -> list[Fact]:
    """Describe the repository that holds the script, or else the working directory.

    Parameters
    ----------
    script
        The program's file; found by itself if not given.
    directory
        Where to look when the script lies in no repository; the working directory by default.
    seconds
        Longest time for the look at the tracked files, and once more for how they differ.
    diff
        Whether to give the difference itself, too.

    Returns
    -------
    list of Fact
        ``code.repository`` (top folder), ``code.commit``, ``code.branch`` (absent if HEAD is detached), ``code.dirty``
        (``"true"``, ``"false"`` or ``"unknown"``, the reason in the comment), ``code.remote`` (where ``origin`` is,
        without credentials), ``code.script_tracked``; where tracked files differ ``code.diff_sha256``, ``code.changed``
        (how many) and, if wanted, ``code.diff``; or ``code.reason`` alone.
    """
    script = script_path() if script is None else script
    try:
        directory = Path.cwd() if directory is None else directory
    except OSError:
        directory = None
    places = [script.resolve().parent] if script is not None else []
    if directory is not None:
        places.append(directory.resolve())
    repository = next(filter(None, map(find_repository, places)), None)
    if repository is None:
        return [Fact("code.reason", "neither the script nor the working directory lies in a git repository")]
    head = read_head(repository)
    facts = [Fact("code.repository", str(repository.root))]
    if head.commit is not None:
        facts.append(Fact("code.commit", head.commit))
    else:
        facts.append(Fact("code.commit.reason", head.reason))
    if head.branch is not None:
        facts.append(Fact("code.branch", head.branch))
    state = working_tree_state(repository, seconds)
    facts.append(Fact("code.dirty", state.dirty, state.reason))
    if state.dirty == "true":
        facts += _diff_facts(repository, seconds, diff)
    remote = repository.settings.get("remote.origin.url")
    if remote:
        facts.append(Fact("code.remote", redact_text(remote)))
    tracked = None if script is None else _is_tracked(repository, script.resolve())
    if tracked is not None:
        facts.append(Fact("code.script_tracked", tracked))
    return facts


def _diff_facts(repository: Repository, seconds: float, diff: bool) -> list[Fact]:
    try:
        found = git_diff.changes(repository, seconds)
        facts = [Fact("code.diff_sha256", git_diff.digest(found)), Fact("code.changed", len(found))]
        if diff:
            facts.append(Fact("code.diff", redact_text(git_diff.text(repository, found))))
    except (OSError, GitFormatError, ValueError, RecursionError) as error:
        return [Fact("code.diff.reason", getattr(error, "strerror", None) or str(error))]
    return facts


def _is_tracked(repository: Repository, script: Path) -> bool | None:
    """Tell whether git knows the script; None where that cannot be told."""
    try:
        name = os.fsencode(script.relative_to(repository.root.resolve()).as_posix())
    except ValueError:
        return False
    try:
        index = read_index(repository.git / "index", repository.algorithm)
    except FileNotFoundError:
        return False
    except (OSError, GitFormatError, ValueError):
        return None
    return any(entry.path == name for entry in index.entries)
