"""PROV documents: the unit cases of the W3C's working group, as the package prov ships them, and our own.

The cases lie in the installed package (its folder tests/unification); nothing of them is copied here.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from provml_hpc.errors import FileMissingError
from provml_tools.validate import validate

_SPEC = find_spec("prov")
CASES = Path(_SPEC.origin).parent / "tests" / "unification" if _SPEC and _SPEC.origin else Path("nowhere")

pytestmark = pytest.mark.skipif(
    not CASES.is_dir(),
    reason="the package prov, with its test cases, is not installed: pip install 'provml-hpc[export]'",
)

OF_A_DRAFT = {
    # The names of these are from a draft. In the Recommendation a usage is not unique (no constraint says so), ...
    "usage-fail1.xml": True,
    "usage-fail5.xml": True,
    "usage-fail6.xml": True,
    "usage-fail7.xml": True,
    # ... an activity that a delegation does not name may be any (definition 4), ...
    "delegation-fail4.xml": True,
    # ... and the two agents of a delegation have to be named.
    "delegation-success3.xml": False,
    "delegation-success4.xml": False,
    # The uniqueness of mentions went, with mentions, into a Note of its own.
    "mention-fail4.xml": True,
}
NOT_PROV_XML = {"bundle-fail1.xml", "bundle-success1.xml", "bundle-success2.xml"}
"""These hold `prov:bundle`, which became `prov:bundleContent` in the final schema; the package does not read them."""


def _is_valid(path: Path) -> bool:
    if path.name in OF_A_DRAFT:
        return OF_A_DRAFT[path.name]
    return "fail" not in path.name.lower()


_ALL = sorted(path for path in CASES.rglob("*") if path.suffix in (".xml", ".provx", ".json"))


@pytest.mark.parametrize("path", [path for path in _ALL if path.name not in NOT_PROV_XML], ids=lambda path: path.name)
def test_the_unit_cases_of_the_w3c(path: Path) -> None:
    report = validate(path)
    told = [one for one in report.findings if one.severity == "violation"]
    assert (not told) == _is_valid(path), told
    assert report.levels == ("prov",)
    assert report.checked["statements"]
    # A case that names its constraints is refused for one of them.
    numbers = {int(part[1:]) for part in path.stem.split("-") if part[:1] == "c" and part[1:].isdigit()}
    if told and numbers:
        assert {one.number for one in told} <= numbers


def test_there_are_as_many_cases_as_we_say() -> None:
    assert len(_ALL) == 174
    assert len(OF_A_DRAFT) == 8


@pytest.mark.parametrize("name", sorted(NOT_PROV_XML))
def test_what_cannot_be_read_is_a_finding(name: str) -> None:
    report = validate(CASES / "constraints" / name)
    assert [one.constraint for one in report.findings] == ["readable"]


_PROV_N = """\
document
  prefix ex <http://example.org/>
  entity(ex:raw)
  entity(ex:clean)
  activity(ex:step, 2020-01-01T10:00:00Z, 2020-01-01T11:00:00Z)
  used(ex:step, ex:raw, 2020-01-01T{used}:00Z)
  wasGeneratedBy(ex:clean, ex:step, 2020-01-01T10:59:00Z)
  wasDerivedFrom({derived})
  bundle ex:inner
    entity(ex:step)
  {more}
  endBundle
endDocument
"""


def _provn(folder: Path, used: str = "10:01", derived: str = "ex:clean, ex:raw", more: str = "") -> Path:
    path = folder / "document.provn"
    path.write_text(_PROV_N.format(used=used, derived=derived, more=more))
    return path


def test_a_document_in_prov_n(tmp_path: Path) -> None:
    report = validate(_provn(tmp_path))
    assert report.findings == []
    # The same name may be an entity in one bundle and an activity outside of it: each is an instance of its own.
    inside = validate(_provn(tmp_path, more="activity(ex:step)"))
    assert [one.number for one in inside.findings] == [55]
    assert "ex:step" in inside.findings[0].message


def test_times_of_documents_are_warnings(tmp_path: Path) -> None:
    report = validate(_provn(tmp_path, used="09:00"))
    assert [(one.number, one.severity) for one in report.findings] == [(33, "warning")]
    assert report.violations == 0


def test_a_circle_of_derivations(tmp_path: Path) -> None:
    report = validate(_provn(tmp_path, derived="ex:clean, ex:clean"))
    assert [one.number for one in report.findings] == [42]


def test_a_document_in_prov_json(tmp_path: Path) -> None:
    document = {
        "prefix": {"ex": "http://example.org/"},
        "entity": {"ex:e": {}},
        "activity": {"ex:a": {}, "ex:b": {}},
        "wasGeneratedBy": {
            "_:1": {"prov:entity": "ex:e", "prov:activity": "ex:a", "prov:time": "2020-01-01T10:00:00+02:00"},
            "_:2": {"prov:entity": "ex:e", "prov:activity": "ex:b", "prov:time": "2020-01-01T08:00:00Z"},
        },
    }
    path = tmp_path / "document.json"
    path.write_text(json.dumps(document))
    # One moment, told in two time zones.
    assert validate(path).findings == []
    document["wasGeneratedBy"]["_:2"]["prov:time"] = "2020-01-01T09:00:00Z"  # type: ignore[index]
    path.write_text(json.dumps(document))
    assert [(one.number, one.severity) for one in validate(path).findings] == [(39, "warning")]


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", "{"), ("a.provn", "document"), ("a.provx", "<a"), ("b.json", "")]
)
def test_a_damaged_document_is_a_finding(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert [one.constraint for one in validate(path).findings] == ["readable"]


def test_a_missing_document_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="Check the name"):
        validate(tmp_path / "none.json")
