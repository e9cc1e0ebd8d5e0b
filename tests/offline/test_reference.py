"""The published page of the vocabulary says what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from provml_hpc.errors import UsageError
from provml_hpc.vocabulary import CLASSES, NAMESPACES, RELATIONS
from provml_tools.rdf import provml_terms
from provml_tools.reference import BEGIN, END, main, render, update


@pytest.fixture
def page(repository: Path) -> Path:
    return repository / "docs" / "vocabulary.md"


def test_the_published_page_is_up_to_date(page: Path) -> None:
    assert update(page.read_text("utf-8")) == page.read_text("utf-8")
    assert main(["--check", str(page)]) == 0


def test_the_page_says_that_the_namespace_does_not_resolve(page: Path) -> None:
    text = " ".join(page.read_text("utf-8").split())
    assert NAMESPACES["provml"] in text
    assert "does not resolve" in text


def test_everything_is_in_the_tables() -> None:
    text = render()
    lines = text.splitlines()
    for one in (*CLASSES, *RELATIONS):
        (line,) = [line for line in lines if line.startswith(f"| `{one.name}`") and f" | {one.code} | " in line]
        assert f"| {one.origin} |" in line
        assert one.comment in line
    for term in provml_terms():
        assert f"`provml:{term}`" in text or f"`{term}`" in text


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    for table in render().split("\n\n"):
        if table.startswith("|"):
            assert len({line.count(" |") for line in table.splitlines()}) == 1


def test_a_page_out_of_date_is_found_and_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nfrom last year\n{END}\nafter\n", "utf-8")
    assert main(["--check", str(page)]) == 1
    assert "python -m provml_tools.reference" in capsys.readouterr().err
    assert "from last year" in page.read_text("utf-8")
    assert main([str(page)]) == 0
    assert main(["--check", str(page)]) == 0
    text = page.read_text("utf-8")
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "from last year" not in text


def test_a_page_without_marks_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n", "utf-8")
    assert main([str(page)]) == 1
    assert "Put these two lines into it" in capsys.readouterr().err
    assert page.read_text("utf-8") == "nothing\n"
    with pytest.raises(UsageError):
        update(f"{END} {BEGIN}")
    assert main([str(tmp_path / "missing.md")]) == 1
