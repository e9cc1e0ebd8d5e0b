"""The installed distributions, read from the names of their metadata folders.

`importlib.metadata` parses one mail-like file a distribution; the folder ``numpy-2.4.6.dist-info`` says as much by its
name, so a listing of each folder on the path is enough, which counts on a shared file system with hundreds of packages.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from provml_hpc.environment.facts import Fact
from provml_hpc.environment.yielding import give_way

_SEPARATORS = re.compile(r"[-_.]+")


class Package(NamedTuple):
    """An installed distribution: its normalised name (PEP 503) and its version (``""`` where it has none)."""

    name: str
    version: str


def installed_packages(search: Iterable[str] | None = None) -> list[Package]:
    """List the distributions that an import could find, sorted by name; of two with one name, the first on the path.

    Parameters
    ----------
    search
        Folders to look in; `sys.path` by default. What is no folder (a zip archive, say) is passed over.
    """
    found: dict[str, str] = {}
    for folder in dict.fromkeys(sys.path if search is None else search):
        try:
            with os.scandir(folder or ".") as entries:
                names = sorted(entry.name for entry in entries if entry.name.endswith((".dist-info", ".egg-info")))
        except OSError:
            continue
        for entry in names:
            give_way()
            name, version = _parse(Path(folder), entry)
            if name:
                found.setdefault(name, version)
    return [Package(name, version) for name, version in sorted(found.items())]


def packages_digest(packages: Iterable[Package]) -> str:
    """Give the SHA-256, in hexadecimal, of a package list written as one line ``name==version`` each."""
    text = "".join(f"{package.name}=={package.version}\n" for package in packages)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def package_facts() -> list[Fact]:
    """Give the count, the digest, and a fact ``package.NAME`` with the version for each distribution."""
    packages = installed_packages()
    facts = [Fact("packages.count", len(packages)), Fact("packages.digest", f"sha256:{packages_digest(packages)}")]
    facts.extend(Fact(f"package.{package.name}", package.version) for package in packages)
    return facts


def _parse(folder: Path, entry: str) -> tuple[str, str]:
    stem, _, kind = entry.rpartition(".")
    name, _, version = stem.partition("-")
    if kind == "egg-info":
        version = re.sub(r"-py\d.*$", "", version)
        if not version:
            version = _egg_version(folder / entry)
    # pip renames a distribution to "~name" while it removes it; such a leftover cannot be imported.
    if name.startswith("~"):
        return "", ""
    return _SEPARATORS.sub("-", name).lower(), version


def _egg_version(path: Path) -> str:
    """Read the version of a development install, whose folder name carries none."""
    try:
        with (path / "PKG-INFO" if path.is_dir() else path).open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("Version:"):
                    return line[8:].strip()
                if not line.strip():
                    break
    except OSError:
        pass
    return ""
