"""The samples of one activity: which layout a set of measures has, and what happens off the hot path."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable
from operator import index as index_of
from typing import TYPE_CHECKING, Any

from provml_hpc import records
from provml_hpc.capture.recorder import recorder
from provml_hpc.journal import Journal
from provml_hpc.values import clean_text

if TYPE_CHECKING:
    from provml_hpc.capture.node import Node
    from provml_hpc.capture.session import Session

Recorder = Callable[..., None]

_MOST = 8000
"""Most measures of one sample."""


class SampleLog:
    """Keeps the recorders of one activity or section.

    Samples are one table per activity: a section logs into that of its stage.
    """

    def __init__(self, session: Session, activity: Node) -> None:
        self._session = session
        self._activity = activity
        self.cell = [activity._handle if _is_section(activity) else 0]
        """The handle of the innermost open section, shared with the recorders."""
        self._recorders: dict[tuple[str, ...], Recorder] = {}
        self._layouts: dict[tuple[str, ...], int] = {}
        self._orders: dict[frozenset[str], tuple[str, ...]] = {}
        self._aside: dict[tuple[str, ...], int] = {}

    def point(self) -> None:
        """Point the cells at the innermost open section again, from here outwards."""
        node: Node | None = self._activity
        while node is not None:
            inner = node._innermost()
            node._samples.cell[0] = inner._handle if _is_section(inner) else 0
            node = node._parent if _is_section(node) else None

    def open_log(self) -> Recorder:
        """Return the function that ``log`` is from the second call on, and put it there."""
        known = self._recorders

        def log(step: int, **values: float) -> None:
            try:
                record = known[(*values,)]
            except KeyError:
                record = self.series((*values,))
            record(step, *values.values())

        self._activity.__dict__["log"] = log
        return log

    def series(self, measures: tuple[str, ...]) -> Recorder:
        """Return the recorder for measures in this order."""
        found = self._recorders.get(measures)
        if found is None:
            found = self._recorders[measures] = self._make(measures)
        return found

    def _make(self, measures: tuple[str, ...]) -> Recorder:
        session, journal = self._session, self._session.journal
        if not session.alive or journal is None:
            return _nothing
        if not measures or len(set(measures)) < len(measures) or len(measures) > _MOST:
            session.drop(
                self._activity._handle,
                "unrecordable",
                "log",
                "a sample needs from 1 to 8000 different measures; log it in parts",
            )
            return _nothing
        if journal.state[2] != threading.get_ident():  # another thread was first
            return lambda step, *values: self._otherwise(measures, step, values)
        stage = self._activity._stage()
        order = stage._samples._orders.setdefault(frozenset(measures), measures)
        if order != measures:  # one layout a set of measures, so that the rows of a table keep their order
            base, places = self.series(order), [measures.index(name) for name in order]
            return lambda step, *values: base(step, *[values[i] for i in places])
        layout = self._layout(journal, measures)

        def otherwise(step: Any, values: tuple[Any, ...]) -> None:
            self._otherwise(measures, step, values)

        return recorder(journal, layout, len(measures), self.cell, otherwise)

    def _layout(self, journal: Journal, measures: tuple[str, ...]) -> int:
        stage = self._activity._stage()
        layouts = stage._samples._layouts
        if measures not in layouts:
            self._session.layouts += 1
            number = self._session.layouts
            self._session.write(records.Layout(number, stage._handle, _names(measures)))
            layouts[measures] = number
        return layouts[measures]

    def _otherwise(self, measures: tuple[str, ...], step: Any, values: tuple[Any, ...]) -> None:
        """Record what the recorder could not, or count it."""
        session, journal = self._session, self._session.journal
        if not session.alive or journal is None:
            session.late(self._activity)
            return
        if len(values) != len(measures):
            self._refuse("log", f"a sample of {len(measures)} measures came with {len(values)} values")
            return
        at = _whole(step)
        if at is None:
            self._refuse("step", f"log(): the step {shown(step)} is no integer; give the number of the step")
            return
        numbers: list[float] = []
        names: list[str] = []
        for name, value in zip(measures, values, strict=True):
            try:
                numbers.append(float(value))
                names.append(name)
            except Exception:  # float() runs the value's own code
                self._refuse(name, f"log(): {name}={shown(value)} is no number; use log_values() or evaluate() for it")
        if not numbers:
            return
        if journal.state[2] != threading.get_ident():
            self._from_other_thread(tuple(names), at, tuple(numbers))
            return
        layout = self._layout(journal, tuple(names))
        try:
            kept = journal.write_sample(layout, at, self.cell[0], tuple(numbers))
        except struct.error:
            self._refuse("step", f"log(): the step {at} does not fit into 64 bits")
            return
        if not kept:
            session.drop(
                self._activity._stage()._handle,
                "buffer full",
                ", ".join(names),
                f"the journal is full, so samples are thinned and counted; flush more often, "
                f"or raise buffer= (now {session.buffer} bytes)",
            )

    def _from_other_thread(self, names: tuple[str, ...], step: int, values: tuple[float, ...]) -> None:
        stage = self._activity._stage()
        with self._session.side.lock:
            if names not in stage._samples._aside:
                self._session.layouts_aside += 1
                stage._samples._aside[names] = self._session.layouts_aside
                self._session.write_aside(records.Layout(self._session.layouts_aside, stage._handle, _names(names)))
            self._session.sample_aside(stage._samples._aside[names], step, self.cell[0], values)

    def _refuse(self, name: str, message: str) -> None:
        self._session.drop(self._activity._handle, "unrecordable", name, message)


def shown(value: Any) -> str:
    """Return a value as a message shows it, whatever its own code does."""
    try:
        return clean_text(repr(value))[:60]
    except Exception:
        return f"of type {type(value).__name__}"


def _names(measures: tuple[str, ...]) -> str:
    return json.dumps([clean_text(name) for name in measures])


def _whole(step: Any) -> int | None:
    """Return a step as an integer, or None where it is none. What a user gives may raise anything."""
    try:
        return int(index_of(step))
    except Exception:
        pass
    try:
        return int(step) if float(step).is_integer() and not isinstance(step, str) else None
    except Exception:
        return None


def _is_section(activity: Node) -> bool:
    return activity._class == "LearningStageSectionExecution"


def _nothing(step: Any, *values: Any) -> None:
    """Record nothing: the run is inert."""
