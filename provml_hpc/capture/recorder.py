"""The hot path: functions made to measure that put one sample into a mapped journal.

A recorder is a closure over local names with one parameter a measure, generated for the number of measures as
:func:`collections.namedtuple` generates its classes, because that is faster than ``*values``. It
packs the frame, then publishes the new length in one aligned store. Everything unusual
(another thread, a full journal, a value that is no number or whose own code fails, a finished run, a forked child)
makes the packing fail or the thread differ, and goes to `otherwise`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from threading import get_ident
from time import monotonic_ns
from typing import Any

from provml_hpc.journal import Journal
from provml_hpc.wire import SAMPLE_HEAD

Otherwise = Callable[[Any, tuple[Any, ...]], None]
"""Takes the step and the values of a sample that the recorder could not record."""

_TEMPLATE = """
def make(pack, window, words, state, cell, head, size, otherwise, clock, thread):
    def record(step, {parameters}):
        try:
            at, sequence, owner = state
            if owner != thread():
                return otherwise(step, ({parameters},))
            pack(window, at, head, sequence, clock(), step, cell[0], {parameters})
        except Exception:
            return otherwise(step, ({parameters},))
        state[0] = words[1] = at + size
        state[1] = sequence + 1
    return record
"""


@cache
def _maker(measures: int) -> Callable[..., Callable[..., None]]:
    # Only the number of measures goes into the text, never anything that a user wrote.
    parameters = ", ".join(f"v{i}" for i in range(measures))
    scope: dict[str, Any] = {}
    exec(compile(_TEMPLATE.format(parameters=parameters), "<recorder>", "exec"), scope)
    maker: Callable[..., Callable[..., None]] = scope["make"]
    return maker


def recorder(
    journal: Journal, layout: int, measures: int, cell: list[int], otherwise: Otherwise
) -> Callable[..., None]:
    """Return ``record(step, value, value, ...)`` for one layout.

    Parameters
    ----------
    journal
        The journal of the run's own thread.
    layout
        The number under which the layout was announced.
    measures
        How many values a sample has, at least 1.
    cell
        Its one item is the handle of the innermost open section, which the sample is credited to.
    otherwise
        Called with the step and the values when the sample cannot be taken the fast way.
    """
    size = SAMPLE_HEAD.size + 8 * measures
    packer = struct.Struct(f"<QQqqQ{measures}d")
    return _maker(measures)(
        packer.pack_into,
        journal.window,
        journal.first.words,
        journal.state,
        cell,
        size | layout << 32,
        size,
        otherwise,
        monotonic_ns,
        get_ident,
    )
