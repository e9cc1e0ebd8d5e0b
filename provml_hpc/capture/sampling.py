"""The sampler of a run: which rank has it, and how it goes along with the run's end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from provml_hpc import records

if TYPE_CHECKING:
    from provml_hpc.capture.session import Session
    from provml_hpc.telemetry.visible import Neighbour

SHARE = 16
"""The journal of the sampler is so many times smaller than that of the run's own thread."""
TURN_TIMEOUT = 1.0
"""Seconds that a rank's end waits for a last turn of its sampler, once."""


def begin(session: Session, node: str, neighbours: Sequence[Neighbour], hz: float) -> None:
    """Start sampling on this rank, which does so for its node.

    Parameters
    ----------
    session
        This rank's.
    node
        The name of the node.
    neighbours
        The ranks on it.
    hz
        Turns a second, above 0.
    """
    from provml_hpc.telemetry.sampler import Sampler, can_sample

    reason = can_sample()
    if reason:
        session.write(records.Fact("telemetry", "telemetry.reason", "text", reason))
        return
    try:
        apart = session.transport.alone and session.transport.size > 1
        sampler = Sampler(session.counters, node, neighbours, hz, apart=apart)
        sampler.start()
    except RuntimeError as error:  # no further thread
        session.write(records.Fact("telemetry", "telemetry.reason", "text", f"no thread for it: {error}"))
        return
    session.sampler = sampler


def last_turn(session: Session) -> None:
    """Have a turn now, so that what ends here is sampled up to its end."""
    sampler = session.sampler
    if sampler is None:
        return
    was_late = sampler.is_late
    if not sampler.take_turn(TURN_TIMEOUT) and not was_late:
        text = f"a call of a driver did not return within {TURN_TIMEOUT:g} s at the end of the run"
        session.write(records.Fact("telemetry", "telemetry.reason", "text", text))
    session.cost_ns["telemetry"] = sampler.cpu_ns


def end(session: Session) -> None:
    """Stop sampling, without waiting."""
    if session.sampler is not None:
        session.sampler.stop()
