"""Each rule of each shape with the few statements that break it: found by us and by pySHACL alike."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pyoxigraph as ox
import pytest
import rdflib

from provml_hpc.vocabulary import expand
from provml_tools.ontology.rules import CLASS, On, Shape, shapes
from provml_tools.validate.shapes import broken
from tests.offline.test_validate_shapes import PUBLISHED, theirs

_A = expand("rdf:type")
_VALUES = {
    "xsd:string": '"text"',
    "xsd:integer": f'"7"^^<{expand("xsd:integer")}>',
    "xsd:double": f'"0.5"^^<{expand("xsd:double")}>',
    "xsd:boolean": f'"true"^^<{expand("xsd:boolean")}>',
    "xsd:dateTime": f'"2023-11-14T22:13:20Z"^^<{expand("xsd:dateTime")}>',
}
_OTHER = f'"x"^^<{expand("xsd:anyURI")}>'


class Case:
    """Statements about one node, which break a rule of a shape."""

    def __init__(self, name: str, shape: Shape, component: str, rule: On | None = None) -> None:
        self.focus = f"urn:case:{name}"
        self.shape, self.component, self.rule = shape, component, rule
        self.path = shape.of if rule is None else f"^{rule.path}" if rule.inverse else rule.path
        self._lines: list[str] = []
        if shape.target == CLASS:
            self.say(self.focus, _A, f"<{expand(shape.of)}>")
        elif component != "class" or rule is not None:
            for one in shape.classes[:1]:
                self.say(self.focus, _A, f"<{expand(one)}>")

    def say(self, subject: str, name: str, value: str) -> None:
        self._lines.append(f"<{subject}> <{name}> {value} .\n")

    def has(self, value: str) -> None:
        """Give the node a value of the rule's property."""
        rule = self.rule
        if rule is not None and rule.inverse:
            self.say(value.strip("<>"), expand(rule.path), f"<{self.focus}>")
        else:
            self.say(self.focus, expand(self.shape.of if rule is None else rule.path), value)

    def other(self, number: int, right: bool = True) -> str:
        """Return a further node, of a class that the rule wants or of none."""
        node = f"{self.focus}:{number}"
        if right and self.rule is not None and self.rule.classes:
            self.say(node, _A, f"<{expand(self.rule.classes[0])}>")
        return f"<{node}>"

    def value(self, number: int) -> str:
        """Return a value that keeps to the rule, each time another one where there are others."""
        rule = self.rule
        if rule is not None and rule.classes:
            return self.other(number)
        if rule is not None and rule.choices:
            return f'"{rule.choices[number]}"'
        text = _VALUES[(rule.datatype if rule else "") or "xsd:string"]
        for old, new in (
            ("7", 7 + number),
            ("text", f"text {number}"),
            ("0.5", f"{number}.5"),
            (":20Z", f":2{number}Z"),
        ):
            text = text.replace(f'{old}"', f'{new}"', 1)
        return text

    @property
    def text(self) -> str:
        return "".join(self._lines)


def cases() -> Iterator[Case]:
    """Yield what breaks each rule."""
    for at, shape in enumerate(shapes()):
        if shape.classes:
            one = Case(f"{at}-class", shape, "class")
            one.rule = shape.rules[0] if shape.rules and shape.rules[0].path == shape.of else None
            one.has(one.value(0))
            one.rule = None
            yield one
        for number, rule in enumerate(shape.rules):
            yield from _of_rule(f"{at}-{number}", shape, rule)


def _of_rule(name: str, shape: Shape, rule: On) -> Iterator[Case]:
    def case(component: str, *values: Any) -> Case:
        one = Case(f"{name}-{component}", shape, component, rule)
        for value in values:
            one.has(value(one) if callable(value) else value)
        return one

    if rule.at_least:
        yield case("minCount")
    if rule.at_most == 0:
        yield case("maxCount", lambda one: one.value(0))
    elif rule.at_most == 1 and rule.datatype != "xsd:boolean":
        yield case("maxCount", lambda one: one.value(0), lambda one: one.value(1))
    if rule.datatype:
        yield case("datatype", _OTHER)
    if rule.literal:
        yield case("nodeKind", "<urn:no:literal>")
    if rule.choices:
        yield case("in", '"none of these"')
    if rule.least is not None:
        yield case("minInclusive", _VALUES["xsd:integer"].replace('"7"', f'"{rule.least - 1}"'))
    if rule.classes:
        yield case("class", lambda one: one.other(0, right=False))
    if rule.no_later:
        one = case("lessThanOrEquals", _VALUES["xsd:integer"])
        one.say(one.focus, expand(rule.no_later), _VALUES["xsd:integer"].replace('"7"', '"6"'))
        yield one


@pytest.fixture(scope="module")
def all_cases() -> list[Case]:
    return list(cases())


@pytest.fixture(scope="module")
def store(all_cases: list[Case]) -> ox.Store:
    """Return the statements of all cases."""
    store = ox.Store()
    store.load("".join(case.text for case in all_cases).encode(), ox.RdfFormat.N_TRIPLES)
    return store


def test_each_rule_has_a_case_that_breaks_it(all_cases: list[Case], store: ox.Store) -> None:
    found = {(one.focus, one.shape, one.query.component, one.query.path) for one in broken(store)}
    for case in all_cases:
        assert (case.focus, case.shape.name, case.component, case.path) in found, case.text
    assert {case.shape.name for case in all_cases} == {shape.name for shape in shapes()}


def test_of_its_shape_each_case_breaks_that_rule_alone(all_cases: list[Case], store: ox.Store) -> None:
    of = {case.focus: case for case in all_cases}
    more: dict[str, set[str]] = {}
    for one in broken(store):
        case = of.get(one.focus)
        if (
            case
            and one.shape == case.shape.name
            and one.query.path == case.path
            and one.query.component != case.component
        ):
            more.setdefault(case.component, set()).add(one.query.component)
    # A value of another datatype is none of the choices and has no size; two values may have to be of classes too.
    assert more == {"datatype": {"in", "minInclusive"}, "maxCount": {"class"}}


def test_pyshacl_finds_the_same_in_all_cases(all_cases: list[Case], store: ox.Store) -> None:
    text = BytesIO()
    store.dump(text, ox.RdfFormat.N_TRIPLES, from_graph=ox.DefaultGraph())
    assert {(one.focus, one.query.component) for one in broken(store)} == theirs(store, rdflib.Graph().parse(PUBLISHED))
