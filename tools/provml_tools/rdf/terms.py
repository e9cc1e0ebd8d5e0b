"""Terms of RDF as text: IRIs, literals, and which property stands for which field.

Everything that a user could have typed passes through `escape` here, and nothing that a user could have typed ever
becomes part of an IRI: nodes are named by uuid. So a hostile name can neither close a literal nor start a statement.

The text is that of N-Triples 1.1, https://www.w3.org/TR/n-triples/.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from provml_hpc import vocabulary
from provml_hpc.assembly.graph import ABSENT, VALUE_TYPES
from provml_hpc.errors import FormatError, UsageError
from provml_hpc.vocabulary import Field, expand

DEFAULT_BASE = "urn:uuid:"
"""What stands before the uuid of a node where the user gives no base."""

ADDED = {
    "Sample": "One value of a series at one step, as it was logged. Written only on demand.",
    "status": "How the run stood when the file was read: running, finished, failed, incomplete or recovered.",
    "writtenBy": "The release that captured the run.",
    "committedNs": "The time of the last commit, in nanoseconds since the epoch (UTC).",
}
"""Terms of the provml: namespace that conversion adds to those of the vocabulary, each with its meaning."""

ABOVE = {
    "prov:Plan": "prov:Entity",
    "prov:Collection": "prov:Entity",
    "prov:Bundle": "prov:Entity",
    "prov:Person": "prov:Agent",
    "prov:Organization": "prov:Agent",
    "prov:SoftwareAgent": "prov:Agent",
}
"""The PROV-O class right above each class that has one: said too, so that a query needs no inference."""

TYPE = f"<{expand('rdf:type')}>"
INTEGER = f'"^^<{expand("xsd:integer")}>'
DOUBLE = f'"^^<{expand("xsd:double")}>'
BOOLEAN = f'"^^<{expand("xsd:boolean")}>'
DATETIME = f'"^^<{expand("xsd:dateTime")}>'

# What N-Triples forbids in a literal (quote, backslash, line feed, carriage return), and what is allowed but makes
# careless readers err: control characters, and the other characters that end a line in Unicode.
_MUST_ESCAPE = re.compile('["\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
_ASCII_TO_ESCAPE = bytes(code for code in range(128) if _MUST_ESCAPE.match(chr(code)))
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# RFC 3987 in its outline: a scheme, then nothing that N-Triples keeps out of an IRI.
_BASE = re.compile('[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20\x7f-\xa0\\\\<>"{}|^`\u2028\u2029\ud800-\udfff\ufffe\uffff]*')
_INTEGER = re.compile("[+-]?[0-9]+")
_REAL = re.compile("[+-]?(?:[0-9]+(?:\\.[0-9]*)?|\\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE = {"nan": "NaN", "inf": "INF", "-inf": "-INF"}
_DATETIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9])?"
)
_DIGITS = 20
"""More digits than an int64 needs; Python refuses to print integers of several thousand."""


def _escape_one(found: re.Match[str]) -> str:
    character = found.group()
    code = ord(character)
    if code == 0 or 0xD800 <= code <= 0xDFFF:
        # Neither can be part of a literal in any syntax of RDF: XML has no NUL, UTF-8 has no surrogates.
        return "\ufffd"
    return _ESCAPES.get(character) or f"\\u{code:04X}"


def escape(text: str) -> str:
    """Return text as it stands between the quotes of a literal."""
    return _MUST_ESCAPE.sub(_escape_one, text) if _MUST_ESCAPE.search(text) else text


def are_plain(texts: Sequence[str]) -> bool:
    """Tell whether none of many texts has anything to escape, in less time than to look at each."""
    joined = "".join(texts)
    if joined.isascii():
        return len(joined.encode().translate(None, _ASCII_TO_ESCAPE)) == len(joined)
    return not _MUST_ESCAPE.search(joined)


def literal(text: str) -> str:
    """Return text as an xsd:string literal."""
    return f'"{escape(text)}"'


def real(number: float) -> str:
    """Return the lexical form of an xsd:double: the shortest text that reads back as the same number."""
    if math.isfinite(number):
        return repr(float(number))
    return "NaN" if math.isnan(number) else "INF" if number > 0 else "-INF"


def times(nanoseconds: np.ndarray[Any, np.dtype[Any]]) -> list[str]:
    """Return the xsd:dateTime text, to the nanosecond, of each of int64 nanoseconds since the epoch, shape (n,)."""
    # Whole seconds once each, since the times of a run lie close together, and numpy's texts take long.
    seconds, rest = np.divmod(np.asarray(nanoseconds, np.int64), 10**9)
    distinct, places = np.unique(seconds, return_inverse=True)
    whole = np.datetime_as_string(distinct.view("datetime64[s]"), unit="s").tolist()
    return [f"{whole[at]}.{part:09d}Z" for at, part in zip(places.tolist(), rest.tolist(), strict=True)]


def check_base(base: str | None) -> str:
    """Return the text that every uuid is put behind.

    Raises
    ------
    UsageError
        If it is no absolute IRI, or holds a character that an IRI cannot hold.
    """
    if base is None:
        return DEFAULT_BASE
    if not _BASE.fullmatch(base):
        raise UsageError(
            f"{base!r} cannot start an IRI. Give an absolute one with special characters percent-encoded, "
            "for example https://example.org/provenance/"
        )
    return base


def check_uuid(text: str) -> str:
    """Return a uuid that may stand in an IRI, or raise FormatError: a damaged file could hold anything there."""
    if not _UUID.fullmatch(text):
        raise FormatError(f"The file holds the identifier {text!r}, which is no uuid. Try `provml recover` on it.")
    return text


def companion(column: str) -> str:
    """Return the provml: property that stands for a column by its own name: ``start_ns`` is ``provml:startNs``.

    Times have one beside their xsd:dateTime that holds the whole int64: several stores cut a dateTime to microseconds.
    Values have one, ``provml:valueType``, where the datatype of the literal does not tell what was given.
    """
    first, *rest = column.split("_")
    return "provml:" + first + "".join(word.capitalize() for word in rest)


def provml_terms() -> dict[str, str]:
    """Return every term of the provml: namespace that a conversion can use, with its meaning."""
    terms = {cls.name: cls.comment for cls in vocabulary.CLASSES}
    fields: list[Field] = []
    for cls in vocabulary.CLASSES:
        fields += cls.fields
    for relation in vocabulary.RELATIONS:
        fields += relation.fields
        if relation.iri.startswith("provml:"):
            terms[relation.iri[7:]] = relation.comment
    for field in fields:
        if field.iri.startswith("provml:"):
            terms.setdefault(field.iri[7:], field.comment)
        if field.type == "time":
            terms.setdefault(companion(field.name)[7:], f"{field.comment}, in nanoseconds since the epoch (UTC)")
        if field.type == "value":
            terms.setdefault(companion(field.name + "_type")[7:], f"none or json, where {field.iri} was given as that")
    return terms | ADDED


def class_types(name: str) -> tuple[str, ...]:
    """Return the types of a node as prefixed names: its class, those above it, then those of PROV and ML-Schema."""
    found: dict[str, None] = {}
    line = vocabulary.lineage(name)
    for above in line:
        found[f"provml:{above}"] = None
    for above in line:
        for prov in vocabulary.CLASS[above].prov:
            found[prov] = None
            if prov in ABOVE:
                found[ABOVE[prov]] = None
    found.update(dict.fromkeys(vocabulary.CLASS[name].exact))
    for above in line:
        found.update(dict.fromkeys(vocabulary.CLASS[above].mls))
    return tuple(found)


def value_literal(text: str, kind: str) -> str:
    """Return the literal of a captured value from its text and the name of its type.

    What does not have the form of its type (in a file that was damaged, or made by others) becomes a plain text: never
    an ill-typed literal.
    """
    form = _FORMS.get(kind)
    return (form(text) if form else None) or literal(text)


def _integer_form(text: str) -> str | None:
    return f'"{text}{INTEGER}' if _INTEGER.fullmatch(text) else None


def _real_form(text: str) -> str | None:
    # A decimal keeps the digits it was given with, though a reader's float64 will hold fewer.
    form = text if _REAL.fullmatch(text) else _NOT_FINITE.get(text.lower().removeprefix("+"))
    return f'"{form}{DOUBLE}' if form else None


def _boolean_form(text: str) -> str | None:
    word = {"true": "true", "1": "true", "false": "false", "0": "false"}.get(text.lower())
    return f'"{word}{BOOLEAN}' if word else None


def _time_form(text: str) -> str | None:
    if _INTEGER.fullmatch(text) and len(text) <= _DIGITS and ABSENT < int(text) < 2**63:
        return f'"{times(np.array([int(text)]))[0]}{DATETIME}'
    found = _DATETIME.fullmatch(text)
    try:
        datetime.fromisoformat(found[1] if found else "")
    except ValueError:
        return None
    return f'"{text}{DATETIME}'


def _none_form(_: str) -> str:
    return '"None"'


_FORMS: dict[str, Callable[[str], str | None]] = {
    "integer": _integer_form,
    "real": _real_form,
    "boolean": _boolean_form,
    "time": _time_form,
    "none": _none_form,
}

UNTYPED = frozenset({"none", "json"})
"""Types of values that no datatype of XML Schema stands for: text, and the name of the type beside it."""


def value_type(mark: str | int) -> str:
    """Return the name of a value's type from what a column of types holds: that name or its place in VALUE_TYPES."""
    if isinstance(mark, str):
        return mark or "absent"
    if not 0 <= mark < len(VALUE_TYPES):
        raise FormatError(
            f"The file holds a value of type {mark}, which this release does not know. Use a newer release."
        )
    return VALUE_TYPES[mark]
