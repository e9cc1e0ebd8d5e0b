"""The reference part of ``docs/vocabulary.md``, generated from the vocabulary.

``python -m provml_tools.reference docs/vocabulary.md`` writes the tables between the two marks of the page anew and
leaves the rest of it alone; with ``--check`` it only tells, by its exit status, whether they are up to date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from provml_hpc import vocabulary
from provml_hpc.errors import UsageError
from provml_hpc.vocabulary import CLASSES, NAMESPACES, RELATIONS, Class, Field
from provml_tools.rdf import ADDED, companion

BEGIN = "<!-- generated: make changes in provml_hpc/vocabulary.py -->"
END = "<!-- end of what is generated -->"

_KINDS = {
    "prospective": "Prospective: what was meant to run",
    "retrospective": "Retrospective: what did run, and its data",
    "agent": "Agents",
    "place": "Places",
}
_CLASS_HEAD = ("class", "below", "PROV", "ML-Schema", "identity", "origin", "code", "what it is")
_RELATION_HEAD = ("relation", "property", "from", "to", "origin", "code", "what it says")


def render() -> str:
    """Return the tables as Markdown."""
    parts = ["## Reference", "### Namespaces", _table(("prefix", "namespace"), _namespaces()), "### Classes"]
    for kind, title in _KINDS.items():
        rows = [_class_row(cls) for cls in CLASSES if cls.kind == kind]
        parts += [f"#### {title}", _table(_CLASS_HEAD, rows)]
    parts += ["### Fields", _table(("field", "type", "property", "what it says", "of"), _field_rows())]
    parts += ["### Relations", _table(_RELATION_HEAD, _relation_rows())]
    parts += ["### Fields of relations"]
    parts += [_table(("relation", "field", "type", "property", "what it says"), _relation_field_rows())]
    parts += ["### Terms that only RDF has", _table(("term", "what it says"), _added_rows())]
    return "\n\n".join(parts) + "\n"


def update(page: str) -> str:
    """Return a page with the tables between its marks as they should be.

    Raises
    ------
    UsageError
        The page has no such marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"The page has no place for the tables. Put these two lines into it: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{render()}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Update or check a page; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m provml_tools.reference", description=__doc__)
    parser.add_argument("page", type=Path, help="the page, usually docs/vocabulary.md")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is out of date")
    options = parser.parse_args(arguments)
    try:
        page = options.page.read_text("utf-8")
        new = update(page)
    except (OSError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.check:
        if page != new:
            print(f"{options.page} is out of date: python -m provml_tools.reference {options.page}", file=sys.stderr)
        return int(page != new)
    options.page.write_text(new, "utf-8")
    return 0


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _classes(names: Iterable[str]) -> str:
    """Return classes as text that can be read: all activities are many."""
    named = list(names)
    activities = {cls.name for cls in CLASSES if cls.prov == ("prov:Activity",) and cls.parent is None}
    if activities <= set(named):
        rest = _code(name for name in named if name not in activities)
        return "every activity" + (f", {rest}" if rest else "")
    return _code(named)


def _namespaces() -> list[tuple[str, str]]:
    return [(f"`{prefix}:`", f"`{iri}`") for prefix, iri in NAMESPACES.items()]


def _class_row(cls: Class) -> tuple[str, ...]:
    schema = _code(cls.mls) or (f"close to {_code(cls.close)}" if cls.close else "")
    name = f"`{cls.name}`" + (" (abstract)" if cls.abstract else "")
    parent = f"`{cls.parent}`" if cls.parent else ""
    return (
        name,
        parent,
        _code((*cls.prov, *cls.exact)),
        schema,
        cls.identity.value,
        cls.origin,
        str(cls.code),
        cls.comment,
    )


def _field_rows() -> list[tuple[str, ...]]:
    of: dict[Field, list[str]] = {}
    for cls in CLASSES:
        have = vocabulary.fields(cls.parent) if cls.parent else ()
        for field in vocabulary.fields(cls.name):
            if field not in have:
                of.setdefault(field, []).append(cls.name)
    return [(f"`{f.name}`", f.type, _properties(f), f.comment, _classes(names)) for f, names in of.items()]


def _properties(field: Field) -> str:
    found = [field.iri]
    if field.type == "time":
        found.append(companion(field.name))
    elif field.type == "value":
        found.append(companion(field.name + "_type"))
    return _code(found)


def _relation_rows() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for one in RELATIONS:
        iri = f"`{one.iri}`"
        if one.qualified:
            iri += f", `{one.qualified[0]}`"
        comment = one.comment + (f" Its subject is then a `{one.implies}`." if one.implies else "")
        if one.pairs:
            told = (f"from {_classes(domain)} to {_classes(range_)}" for domain, range_ in one.pairs)
            comment += f" It holds {'; '.join(told)}."
        ends = _classes(one.domain), _classes(one.range)
        rows.append((f"`{one.name}`", iri, *ends, one.origin, str(one.code), comment))
    return rows


def _relation_field_rows() -> list[tuple[str, ...]]:
    return [
        (f"`{one.name}`", f"`{field.name}`", field.type, _properties(field), field.comment)
        for one in RELATIONS
        for field in one.fields
    ]


def _added_rows() -> list[tuple[str, str]]:
    return [(f"`provml:{name}`", comment) for name, comment in ADDED.items()]


if __name__ == "__main__":
    sys.exit(main())
