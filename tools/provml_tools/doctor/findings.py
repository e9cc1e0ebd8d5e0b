"""What a check found, as text for people and as plain data for programs."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO

from provml_tools.console import one_line

OK, NOTE, MISSING, BROKEN = STATES = ("ok", "note", "missing", "broken")
"""All is well; works, but should be known; is not there, and what needs it cannot be done; is there and does not work.
"""

_COLOURS = {OK: "\033[32m", NOTE: "\033[36m", MISSING: "\033[33m", BROKEN: "\033[1;31m"}
_NAMES = 15
"""Cells for the name of a finding."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for."""

    topic: str
    """What it belongs to, such as ``"MPI"``."""
    name: str
    """What was looked for; with its topic, the same in every report."""
    state: str
    """One of `STATES`."""
    found: str
    """What was found."""
    meaning: str = ""
    """What that means for a job."""
    remedy: str = ""
    """What to do about it; empty where nothing need be done."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What was found, in values for programs."""


def as_row(finding: Finding) -> dict[str, Any]:
    """Return a finding as plain data."""
    return {**asdict(finding), "details": dict(finding.details)}


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """Return how many findings are in each state."""
    counted = Counter(finding.state for finding in findings)
    return {state: counted[state] for state in STATES}


def summary(findings: Sequence[Finding]) -> str:
    """Return the counts in words.

    Examples
    --------
    >>> summary([Finding("MPI", "mpi4py", "ok", ""), Finding("MPI", "mpiexec", "missing", "")])
    '1 ok, 1 missing'
    """
    return ", ".join(f"{number} {state}" for state, number in counts(findings).items() if number)


class Screen:
    """Writes findings for people, topic by topic, as they come."""

    def __init__(self, stream: TextIO, *, colours: bool) -> None:
        self._stream, self._colours, self._topic = stream, colours, ""
        self._width = max(60, min(shutil.get_terminal_size((110, 24)).columns, 130))

    def show(self, findings: Sequence[Finding]) -> None:
        """Write findings; they are on the screen when this returns."""
        for finding in findings:
            if finding.topic != self._topic:
                self._topic = finding.topic
                self._stream.write(f"{self._paint(one_line(finding.topic), chr(27) + '[1m')}\n")
            for line in self._lines(finding):
                self._stream.write(line.rstrip() + "\n")
        self._stream.flush()

    def _lines(self, finding: Finding) -> Iterator[str]:
        state = self._paint(finding.state.ljust(8), _COLOURS[finding.state])
        text = one_line(f"{finding.found}: {finding.meaning}" if finding.meaning else finding.found)
        indent = 2 + 8 + _NAMES + 1
        first, *more = self._wrap(text, indent) or [""]
        yield f"  {state}{one_line(finding.name):<{_NAMES}} {first}"
        yield from (" " * indent + line for line in more)
        if finding.remedy:
            lines = self._wrap(one_line(finding.remedy), indent + 3)
            yield from (f"{' ' * indent}{'-> ' if not at else '   '}{line}" for at, line in enumerate(lines))

    def _wrap(self, text: str, indent: int) -> list[str]:
        # A path is never broken, so that it can be copied.
        return textwrap.wrap(text, self._width - indent, break_long_words=False, break_on_hyphens=False)

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}\033[0m" if self._colours else text


def wants_colours(stream: TextIO, environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether colours belong on a stream: only on a terminal, and where the user did not refuse them."""
    environ = os.environ if environ is None else environ
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "") not in ("", "dumb")
