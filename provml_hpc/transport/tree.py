"""Whom each rank sends to on the way to the writer rank.

With few ranks all send to the writer rank. With many, those of one node send to one of them, its *leader*, which sends
on what they sent: the messages of a node go through its memory, and the writer rank hears of nodes and not of ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Tree(NamedTuple):
    """The place of one rank between those that send to it and the one that it sends to."""

    parent: int | None
    """The rank that it sends to; None for the writer rank."""
    children: tuple[tuple[int, ...], ...]
    """For each rank that sends to it: that rank, and behind it those whose bytes it sends on."""
    widest: int
    """The most ranks that a leader sends for, itself included; 1 where there are none."""

    @property
    def rows(self) -> tuple[int, ...]:
        """The ranks that this one sends for, itself first."""
        return tuple(rank for branch in self.children for rank in branch)


def grow(rank: int, size: int, writer: int, nodes: Sequence[int] | None = None) -> Tree:
    """Return the place of a rank.

    Parameters
    ----------
    rank, size, writer
        Which rank of how many, and the one that all bytes go to.
    nodes
        For each rank a number of its node; nothing for a tree without leaders.
    """
    if nodes is None:
        if rank != writer:
            return Tree(writer, (), 1)
        return Tree(None, tuple((other,) for other in range(size) if other != writer), 1)
    members: dict[int, list[int]] = {}
    for other, node in enumerate(nodes):
        members.setdefault(node, []).append(other)
    home = members.pop(nodes[writer])
    widest = max((len(ranks) for ranks in members.values()), default=1)
    if rank == writer:
        near = tuple((other,) for other in home if other != writer)
        return Tree(None, near + tuple(tuple(ranks) for ranks in members.values()), widest)
    if nodes[rank] == nodes[writer]:
        return Tree(writer, (), widest)
    leader, *others = members[nodes[rank]]
    if rank == leader:
        return Tree(writer, tuple((other,) for other in others), widest)
    return Tree(leader, (), widest)
