"""The named queries: each a ``.rq`` file that a person can read, and that any SPARQL 1.1 store can answer.

The comment at the head of a file says what it is for::

    # title: Compare trainings
    # question: Each training of a study with its hyperparameters and final measures, best first
    # parameter --study ?wantedStudy: the study, by its name or IRI; all studies if not given
    # then: trainings

A parameter binds a variable that the query sets to nothing with ``VALUES ?wantedStudy { UNDEF }``: that one line is
what changes, and what is put there is an escaped literal. ``then`` names what is done with the rows
(`provml_tools.query.answers`), and ``needs: samples`` asks for summaries of the raw samples to be loaded too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from provml_hpc.errors import UsageError

_HEAD = re.compile(r"#\s*(title|question|then|needs):\s*(.*)")
_PARAMETER = re.compile(r"#\s*parameter\s+--([a-z-]+)(?:\s+\?(\w+))?\s*:\s*(.*)")
_MORE = re.compile(r"#\s{3,}(\S.*)")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


@dataclass(frozen=True)
class Parameter:
    """One option of a query. `variable` is empty where the answer, and not the query, uses it."""

    name: str
    variable: str
    comment: str


@dataclass
class NamedQuery:
    """One ``.rq`` file."""

    name: str
    text: str
    title: str = ""
    question: str = ""
    then: str = ""
    needs: str = ""
    parameters: dict[str, Parameter] = field(default_factory=dict)

    def bind(self, values: Mapping[str, str]) -> str:
        """Return the query with values for its parameters.

        Raises
        ------
        UsageError
            The query has no such parameter.
        """
        text = self.text
        for name, value in values.items():
            parameter = self.parameters.get(name)
            if parameter is None:
                takes = ", ".join(f"--{known}" for known in self.parameters)
                raise UsageError(f"The query {self.name} has no --{name}. It takes: {takes or 'no parameters'}.")
            if parameter.variable:
                place = f"VALUES ?{parameter.variable} {{ UNDEF }}"
                assert place in text, f"{self.name}.rq does not bind ?{parameter.variable}"
                text = text.replace(place, f"VALUES ?{parameter.variable} {{ {literal(value)} }}")
        return text


def literal(text: str) -> str:
    """Return text as a literal of SPARQL; no text can close it."""
    # What the shell passed that is no UTF-8 arrives as lone surrogates, which no literal can hold.
    clean = text.encode("utf-8", "replace").decode()
    return '"' + "".join(_ESCAPES.get(character, character) for character in clean) + '"'


def _parse(name: str, text: str) -> NamedQuery:
    query = NamedQuery(name, text)
    last = ""
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if found := _HEAD.fullmatch(line):
            last = found[1]
            setattr(query, last, found[2].strip())
        elif found := _PARAMETER.fullmatch(line):
            last = found[1]
            query.parameters[last] = Parameter(last, found[2] or "", found[3].strip())
        elif (found := _MORE.fullmatch(line)) and last:
            if last in query.parameters:
                one = query.parameters[last]
                query.parameters[last] = Parameter(last, one.variable, f"{one.comment} {found[1]}")
            else:
                setattr(query, last, f"{getattr(query, last)} {found[1]}")
        else:
            last = ""
    return query


@cache
def part(name: str) -> str:
    """Return the text of a query that answers are put together from."""
    return (resources.files(__package__) / "queries" / "parts" / f"{name}.rq").read_text("utf-8")


@cache
def catalog() -> dict[str, NamedQuery]:
    """Return all named queries, by name."""
    folder = resources.files(__package__) / "queries"
    files = sorted((one.name, one) for one in folder.iterdir() if one.name.endswith(".rq"))
    return {name[:-3]: _parse(name[:-3], one.read_text("utf-8")) for name, one in files}


def find(name: str) -> NamedQuery:
    """Return a named query.

    Raises
    ------
    UsageError
        There is none of that name; the message lists those there are, close ones first.
    """
    known = catalog()
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise UsageError(f"There is no query {name!r}.{hint} There are: {', '.join(known)}.")
