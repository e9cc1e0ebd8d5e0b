"""Whether a run had too few writer ranks, as ``provml info`` tells."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

import provml_hpc as provml
from provml_tools.info import collect, show
from provml_tools.info.description import BUSY, writers


def found(files: int, ranks: int, seconds: float | None, append_s: float) -> dict[str, Any]:
    cost = {"append_ns": {"most": append_s * 1e9}}
    return {"files": ["x.h5"] * files, "ranks": ranks, "seconds": seconds, "cost": cost}


@pytest.mark.parametrize(
    ("files", "ranks", "seconds", "append_s", "wanted"),
    [
        (1, 1000, 3600, 0.5 * 3600 * BUSY, 1),
        (1, 1000, 3600, 3.5 * 3600 * BUSY, 4),
        (4, 1000, 3600, 0.9 * 3600 * BUSY, 4),
        (4, 1000, 3600, 2 * 3600 * BUSY, 8),
        (1, 3, 3600, 50 * 3600 * BUSY, 3),  # no more than there are ranks
        (1, 1000, 30, 15, 1),  # too short to tell
        (1, 1000, None, 15, 1),
    ],
)
def test_as_many_as_keep_each_below_its_share(
    files: int, ranks: int, seconds: float | None, append_s: float, wanted: int
) -> None:
    told = writers(found(files, ranks, seconds, append_s))
    assert (told["files"], told["wanted"]) == (files, wanted)


def test_it_is_said_only_where_more_would_help(tmp_path: Path) -> None:
    with provml.init("short", phase="learning", output=tmp_path / "short.h5", comm="self") as run:
        run.log(0, loss=1.0)
    told = collect(str(tmp_path / "short.h5"))
    assert told["writers"]["wanted"] == 1

    def said() -> str:
        stream = io.StringIO()
        show(told, stream)
        return stream.getvalue()

    assert "writers=" not in said()
    told["writers"] = writers(found(1, 1000, 3600, 90))
    assert "a writer rank was busy 2.5 % of the time, and all wait for it meanwhile: init(writers=5)" in said()
