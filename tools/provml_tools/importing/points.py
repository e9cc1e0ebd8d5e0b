"""Samples as other trackers write them: as text in attributes, or as tables in files beside the document."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from provml_tools.importing.repair import Document, Record

Points = list[tuple[int | None, float, int | None]]
"""Samples of one measure: epoch, value, time in int64 nanoseconds since the epoch."""


def series(document: Document, record: Record) -> Points:
    """Return the samples that a record holds as text in attributes, as yProv4ML 1 wrote them."""
    names = ("metric_epoch_list", "metric_value_list", "metric_timestamp_list")
    lists: list[Sequence[Any]] = []
    for name in names:
        found = record.get(name)
        try:
            # Python writes nan and inf, and JSON reads NaN and Infinity.
            text = re.sub(r"\bnan\b", "NaN", re.sub(r"\binf\b", "Infinity", str(found if found is not None else "[]")))
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = []
        lists.append(value if isinstance(value, list) else [])
    epochs, values, times = lists
    points: Points = []
    for at, value in enumerate(values):
        if isinstance(value, int | float) and not isinstance(value, bool):
            epoch = epochs[at] if at < len(epochs) and isinstance(epochs[at], int) else None
            points.append((epoch, float(value), document.nanoseconds(times[at]) if at < len(times) else None))
    return points


def table(document: Document, path: Path) -> Points:
    """Return the samples in a CSV file with the columns epoch, value, time in milliseconds, as yProv4ML 3 writes it."""
    points: Points = []
    try:
        lines = path.read_text("utf-8", "replace").splitlines()[1:]
    except OSError:
        return points
    for line in lines:
        cells = re.split("[,;\t]", line)
        try:
            points.append((int(cells[0]), float(cells[1]), document.nanoseconds(cells[2]) if len(cells) > 2 else None))
        except (ValueError, IndexError):
            document.repairs["lines of metrics that are none"] = (
                document.repairs.get("lines of metrics that are none", 0) + 1
            )
    return points
