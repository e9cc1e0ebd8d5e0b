"""What holds for every named question."""

from __future__ import annotations

from provml_tools.query import catalog
from tests.offline import query_fixtures as fixtures
from tests.offline.query_fixtures import answer


def test_questions_to_nothing_are_answered_with_nothing() -> None:
    for name in catalog():
        assert answer([], name).rows == []


def test_the_same_files_in_another_order_give_the_same_answer() -> None:
    jobs = fixtures.jobs()
    for name in catalog():
        assert answer(jobs, name).rows == answer(jobs[::-1], name).rows
