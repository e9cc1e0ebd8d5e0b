"""The naming authority: whose names these are, so that two jobs of one site mean the same study by the same name."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from provml_hpc.environment.facts import Fact

SETTING = "PROVML_AUTHORITY"
_RESOLVER = Path("/etc/resolv.conf")
# What an unconfigured machine calls itself: it names no site.
_NOBODY = frozenset({"", "localdomain", "localhost", "(none)"})
_DOMAIN = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")


class Authority(NamedTuple):
    """A naming authority and where it was found (``setting``, ``host name``, ``resolver`` or ``default``)."""

    name: str
    source: str


def site_authority(
    environ: Mapping[str, str] | None = None, host: str | None = None, resolver: Path = _RESOLVER
) -> Authority:
    """Find the authority under which named things get their identity, without asking a network.

    The setting ``PROVML_AUTHORITY`` comes first, as it is given, without surrounding space; then the domain part of the
    host's own name, then the first usable ``domain`` or ``search`` entry of ``/etc/resolv.conf``, then ``"localhost"``.
    A site whose nodes carry different domains, or none, should set the setting for all of them.

    Examples
    --------
    >>> site_authority({"PROVML_AUTHORITY": "hpc.example.org"})
    Authority(name='hpc.example.org', source='setting')
    >>> site_authority({}, host="n12.cluster.example.org").name
    'cluster.example.org'
    """
    given = (os.environ if environ is None else environ).get(SETTING, "").strip()
    if given:
        return Authority(given, "setting")
    name = socket.gethostname() if host is None else host
    domain = _usable(name.strip().rstrip(".").partition(".")[2])
    if domain:
        return Authority(domain, "host name")
    domain = _resolver_domain(resolver)
    if domain:
        return Authority(domain, "resolver")
    return Authority("localhost", "default")


def authority_facts() -> list[Fact]:
    """Give the authority as a fact."""
    authority = site_authority()
    return [Fact("authority.name", authority.name, f"from the {authority.source}")]


def _usable(text: str) -> str:
    domain = text.strip().rstrip(".").lower()
    return domain if domain not in _NOBODY and _DOMAIN.fullmatch(domain) else ""


def _resolver_domain(path: Path) -> str:
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    found = ""
    for line in lines:
        words = line.split()
        # `domain` and `search` exclude each other, and the last one given wins (resolv.conf(5)).
        if words and words[0] in {"domain", "search"}:
            found = next((domain for domain in map(_usable, words[1:]) if domain), "")
    return found
