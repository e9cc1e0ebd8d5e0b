"""Answers as text: full values for programs, readable and harmless ones for people."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from provml_tools.query.answer import Answer
from provml_tools.query.engine import Iri
from provml_tools.query.measures import lower_is_better
from provml_tools.query.tables import as_csv, as_json, cell, number, safe, width, write_table


class Terminal(io.StringIO):
    """A text that says it is a terminal."""

    def isatty(self) -> bool:
        return True


ROWS: list[dict[str, Any]] = [
    {"name": "plain", "value": 1 / 3, "more": {"a": 1, "b": float("nan")}},
    {"name": 'quote " comma , line\nend', "value": float("inf"), "more": {}},
    {"name": "übergroß 数据", "value": None, "more": None},
]
ANSWER = Answer(["name", "value", "more"], ROWS)


def test_json_has_full_values_and_stays_json() -> None:
    found = json.loads(as_json(ANSWER), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert found[0] == {"name": "plain", "value": 1 / 3, "more": {"a": 1, "b": "NaN"}}
    assert found[1]["value"] == "INF"
    assert found[2] == {"name": "übergroß 数据", "value": None, "more": None}
    assert json.loads(as_json(Answer(["a"], []))) == []


def test_csv_reads_back() -> None:
    found = list(csv.DictReader(io.StringIO(as_csv(ANSWER), newline="")))
    assert [row["name"] for row in found] == [row["name"] for row in ROWS]
    assert [row["value"] for row in found] == [repr(1 / 3), "INF", ""]
    assert json.loads(found[0]["more"]) == {"a": 1, "b": "NaN"}


def test_a_plain_table_is_never_cut_off() -> None:
    long = "x" * 500
    out = io.StringIO()
    write_table(Answer(["name", "n"], [{"name": long, "n": 7}, {"name": "short", "n": 1234}]), out, {})
    lines = out.getvalue().splitlines()
    assert lines[2] == f"{long}     7"
    assert lines[3] == f"short{' ' * 495}  1234"


def test_a_table_on_a_narrow_terminal_is_folded_and_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    word = "abcdefghij" * 12
    write_table(Answer(["name", "n"], [{"name": word, "n": 7}], title="[red]not markup[/red]"), out, {})
    text = "".join(out.getvalue().split())
    assert word in text.replace("7", "")
    assert "[red]notmarkup[/red]" in text


def test_nothing_from_a_file_can_command_the_terminal() -> None:
    hostile = "\x1b]0;owned\x07\x1b[2Jname\nsecond\u202eline"
    out = io.StringIO()
    write_table(Answer([hostile], [{hostile: hostile}]), out, {})
    assert out.getvalue().count("\n") == 3
    assert not set(out.getvalue()) & set("\x1b\x07\u202e")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (12345678, "12345678"),
        (0.1 + 0.2, "0.3"),
        (Iri("http://www.w3.org/ns/prov#used"), "prov:used"),
        (Iri("urn:uuid:1"), "a name"),
        ({"lr": 0.1, "on": False}, "lr=0.1, on=no"),
    ],
)
def test_a_cell_as_a_person_reads_it(value: object, text: str) -> None:
    assert cell(value, {"urn:uuid:1": "a name"}) == text


def test_wide_characters_keep_columns_in_line() -> None:
    assert width("数据") == 4
    assert width("e\u0301") == 1
    assert safe("ä b") == "ä b"
    assert number(-0.0) == "-0"


@pytest.mark.parametrize(
    ("measure", "lower"),
    [
        ("loss", True), ("val_loss", True), ("valLoss", True), ("logloss", True), ("cross_entropy", True),
        ("RMSE", True), ("mean absolute error", True), ("perplexity", True), ("step/seconds", True),
        ("accuracy", False), ("f1", False), ("AUC", False), ("R2", False), ("iou", False), ("glossiness", False),
    ],
)  # fmt: skip
def test_which_measures_are_better_when_lower(measure: str, lower: bool) -> None:
    assert lower_is_better(measure) is lower
