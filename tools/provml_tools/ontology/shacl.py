"""``shapes.ttl``: the rules as SHACL shapes."""

from __future__ import annotations

from collections.abc import Iterator

from provml_tools.ontology.rules import CLASS, On, Shape, shapes
from provml_tools.ontology.turtle import block, members, node, prefixes, text
from provml_tools.rdf.terms import literal

SPACE = "https://w3id.org/provml-hpc/shapes#"

_HEAD = f"""\
# Written by `python -m provml_tools.ontology docs/ontology` from provml_hpc/vocabulary.py and
# tools/provml_tools/ontology/rules.py. Make changes there.
#
# For the RDF of one run at a time. Types are written out in it, so no inference is needed.
@prefix sh: <http://www.w3.org/ns/shacl#> .
@prefix shape: <{SPACE}> .
"""


def render() -> str:
    """Return the shapes as Turtle."""
    head = _HEAD + prefixes("provml", "prov", "mls", "dcterms", "rdfs", "xsd")
    return "\n".join([head, *(_shape(one) for one in shapes())])


def _shape(shape: Shape) -> str:
    pairs = [("a", "sh:NodeShape")]
    pairs.append(("sh:targetClass" if shape.target == CLASS else "sh:targetSubjectsOf", shape.of))
    pairs += _classes(shape.classes)
    pairs += [("sh:property", node(list(_rule(rule)))) for rule in shape.rules]
    return block(f"shape:{shape.name}", pairs)


def _classes(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if len(names) == 1:
        yield "sh:class", names[0]
    elif names:
        yield "sh:or", members(node([("sh:class", name)]) for name in names)


def _rule(rule: On) -> Iterator[tuple[str, str]]:
    yield "sh:path", node([("sh:inversePath", rule.path)]) if rule.inverse else rule.path
    if rule.at_least:
        yield "sh:minCount", str(rule.at_least)
    if rule.at_most is not None:
        yield "sh:maxCount", str(rule.at_most)
    if rule.datatype:
        yield "sh:datatype", rule.datatype
    if rule.literal:
        yield "sh:nodeKind", "sh:Literal"
    if rule.choices:
        yield "sh:in", members(literal(choice) for choice in rule.choices)
    if rule.least is not None:
        yield "sh:minInclusive", str(rule.least)
    yield from _classes(rule.classes)
    if rule.no_later:
        yield "sh:lessThanOrEquals", rule.no_later
    yield "sh:message", text(message(rule))


def message(rule: On) -> str:
    """Return a rule in words."""
    path = f"^{rule.path}" if rule.inverse else rule.path
    if rule.at_most == 0:
        return f"{path} may not be there"
    parts = []
    if rule.at_least and rule.at_most == 1:
        parts.append("exactly one")
    elif rule.at_least:
        parts.append("at least one")
    elif rule.at_most == 1:
        parts.append("at most one")
    if rule.datatype:
        parts.append(rule.datatype)
    if rule.literal:
        parts.append("literals only")
    if rule.choices:
        parts.append(f"one of {', '.join(rule.choices)}")
    if rule.least is not None:
        parts.append(f"{rule.least} or more")
    if rule.classes:
        parts.append(f"a {' or '.join(rule.classes)}")
    if rule.no_later:
        parts.append(f"no greater than {rule.no_later}")
    return f"{path}: {', '.join(parts)}"
