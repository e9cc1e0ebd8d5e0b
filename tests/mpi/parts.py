"""What a run left of which several ranks wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import provml_hpc as provml


def seen(folder: Path, ranks: int) -> list[dict[str, Any]]:
    return [json.loads((folder / f"seen-{rank}.json").read_text()) for rank in range(ranks)]


def steps(path: Path) -> dict[int, list[int]]:
    """Return the steps that each rank logged, as whoever opens the first file reads them."""
    with provml.open(path) as run:
        found = run.samples("loss")
    for rank in np.unique(found["rank"]):
        mine = found[found["rank"] == rank]
        assert mine["value"].tolist() == (10**6 * rank + mine["step"]).tolist()
    return {int(rank): found["step"][found["rank"] == rank].tolist() for rank in np.unique(found["rank"])}


def nothing_else(folder: Path, *names: str) -> None:
    """Nothing is left but these files and what the ranks told."""
    there = {path.name for path in folder.iterdir() if not path.name.startswith("seen-")}
    assert there == set(names)
