"""The writer ranks of a run among themselves: when each has committed, they agree for all ranks.

One of them is the lead. What the ranks of a group agree on goes to it as if the group were one rank, and its answer
comes back the same way: so a flush point of many groups costs it a message a group, and not one a rank.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from provml_hpc.transport.base import Agreement, Answer, Report
from provml_hpc.transport.meeting import Leaf, Meeting
from provml_hpc.transport.steps import Steps
from provml_hpc.transport.tree import Tree

_SAID, _ASKED = struct.Struct("<Q"), struct.Struct("<IQ")  # bytes of what follows; rank, bytes of its request
_QUOTA = 8  # nobody has bytes to give here


class Council:
    """The part of one writer rank.

    Parameters
    ----------
    steps
        What sends and waits.
    rank
        Its number.
    lead
        That of the one that answers for all.
    writers
        Those of all.
    """

    def __init__(self, steps: Steps, rank: int, lead: int, writers: Sequence[int]) -> None:
        self._part: Leaf | Meeting = Leaf(steps, lead, _QUOTA)
        if rank == lead:
            others = tuple((writer,) for writer in writers if writer != lead)
            self._part = Meeting(steps, Tree(None, others, 1), rank, _QUOTA, _QUOTA)

    def hold(self, group: Agreement, said: bytes, answer: Answer, until: float | None) -> tuple[Agreement, bytes]:
        """Return what all ranks agree on, and the answer of the lead.

        Parameters
        ----------
        group
            What the ranks that send to this one agree on.
        said
            What the lead is to hear of this group.
        answer
            Makes the answer, on the lead.
        until
            Monotonic time in seconds at which to give up.
        """

        def decide(found: Agreement, _: Exception | None) -> tuple[Agreement, bytes]:
            requests: dict[int, bytes] = {}
            heard: dict[int, bytes] = {}
            for writer, letter in found.requests.items():
                told = _read(letter, requests)
                if told:
                    heard[writer] = told
            agreement = found._replace(has_requests=bool(requests), requests=requests)
            return agreement, answer(agreement, heard)

        report = Report(group.all_finishing, group.any_stop, _write(group, said))
        return self._part.hold(report, [], None, decide, until)


def _write(group: Agreement, said: bytes) -> bytes:
    """Return what a group has to tell besides its state: nothing, as a rule."""
    if not group.requests and not said:
        return b""
    parts = [_SAID.pack(len(said)), said]
    for rank, request in group.requests.items():
        parts += _ASKED.pack(rank, len(request)), request
    return b"".join(parts)


def _read(letter: bytes, requests: dict[int, bytes]) -> bytes:
    """Return what a writer rank said, and add the requests of its group."""
    at = _SAID.size + _SAID.unpack_from(letter)[0]
    said = letter[_SAID.size : at]
    while at < len(letter):
        rank, length = _ASKED.unpack_from(letter, at)
        at += _ASKED.size
        requests[rank] = letter[at : at + length]
        at += length
    return said
