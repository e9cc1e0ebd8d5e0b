"""Find a git repository and read its HEAD, references and the few settings that matter, without the git program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_SECTION = re.compile(r'\[\s*([A-Za-z0-9.-]+)(?:\s+"((?:[^"\\]|\\.)*)")?\s*\]')
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_TEXT_LIMIT = 64 * 2**20


class Repository(NamedTuple):
    """A repository as seen from one working tree.

    Attributes
    ----------
    root
        Top folder of the working tree.
    git
        Folder with this working tree's own HEAD and index.
    common
        Folder with the references, objects and settings that all working trees share.
    settings
        Settings of the repository's own file, keys in small letters (``core.filemode``, ``remote.origin.url``).
    """

    root: Path
    git: Path
    common: Path
    settings: dict[str, str]

    @property
    def algorithm(self) -> str:
        """The object format, ``"sha1"`` or ``"sha256"``."""
        return self.settings.get("extensions.objectformat", "sha1").lower()


class Head(NamedTuple):
    """What HEAD says: the commit (None before the first one), the branch (None if detached), a remark."""

    commit: str | None
    branch: str | None
    reason: str


def find_repository(start: Path) -> Repository | None:
    """Find the repository whose working tree holds a folder, as git does: the nearest one upwards."""
    for folder in (start, *start.parents):
        repository = open_repository(folder)
        if repository is not None:
            return repository
    return None


def open_repository(folder: Path) -> Repository | None:
    """Open the repository whose working tree has its top here, or give None."""
    mark = folder / ".git"
    try:
        if mark.is_dir():
            git = mark
        elif mark.is_file():
            # Worktrees and submodules have a file that tells where the folder is.
            text = _read(mark)
            if not text.startswith("gitdir:"):
                return None
            git = folder / text[7:].strip()
        else:
            return None
        if not (git / "HEAD").is_file():
            return None
        other = git / "commondir"
        common = git / _read(other).strip() if other.is_file() else git
        try:
            settings = read_settings(_read(common / "config"))
        except FileNotFoundError:
            settings = {}
    except OSError:
        return None
    root = folder
    if git == mark and settings.get("core.worktree"):
        root = git / settings["core.worktree"]
    return Repository(root, git, common, settings)


def read_head(repository: Repository) -> Head:
    """Resolve HEAD through loose and packed references."""
    try:
        text = _read(repository.git / "HEAD").strip()
    except OSError as error:
        return Head(None, None, f"HEAD cannot be read: {error.strerror}")
    if repository.settings.get("extensions.refstorage", "files").lower() != "files":
        return Head(None, None, "the references are kept in a form that is not read here (reftable)")
    branch = None
    for _ in range(6):
        if _OID.fullmatch(text):
            return Head(text, branch, "")
        name = text.removeprefix("ref:").strip()
        # A name that leaves the folder of references would read a foreign file.
        if name == text or not name.startswith("refs/") or ".." in name:
            return Head(None, None, "HEAD is damaged")
        if branch is None:
            branch = name.removeprefix("refs/heads/")
        found = _resolve(repository, name)
        if found is None:
            return Head(None, branch, "there is no commit yet")
        text = found
    return Head(None, branch, "HEAD names a reference that never ends at a commit")


def _resolve(repository: Repository, name: str) -> str | None:
    for place in dict.fromkeys((repository.git, repository.common)):
        try:
            return _read(place / name).strip()
        except (OSError, ValueError):
            continue
    try:
        packed = _read(repository.common / "packed-refs")
    except OSError:
        return None
    for line in packed.splitlines():
        oid, _, reference = line.partition(" ")
        if reference == name:
            return oid
    return None


def read_settings(text: str) -> dict[str, str]:
    """Read a git settings file as far as this package needs it; included files are not followed."""
    settings: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        line = line.strip()
        match = _SECTION.match(line)
        if match:
            name, sub = match.groups()
            section = name.lower() if sub is None else name.lower() + "." + _plain('"' + sub + '"')
            line = line[match.end() :].strip()
        if not line or line[0] in "#;" or not section:
            continue
        key, sign, value = line.partition("=")
        settings[f"{section}.{key.strip().lower()}"] = _plain(value) if sign else "true"
    return settings


def _plain(value: str) -> str:
    """Take quotes and a trailing remark off a value."""
    result, quoted, escaped = [], False, False
    for letter in value.strip():
        if escaped:
            result.append({"n": "\n", "t": "\t"}.get(letter, letter))
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter == '"':
            quoted = not quoted
        elif letter in "#;" and not quoted:
            break
        else:
            result.append(letter)
    return "".join(result).rstrip()


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_TEXT_LIMIT).decode("utf-8", "surrogateescape")
