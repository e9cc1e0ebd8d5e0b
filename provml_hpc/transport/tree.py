"""Whom each rank sends to on the way to its writer rank, and which ranks have one together.

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


def grow(rank: int, group: Sequence[int], writer: int, nodes: Sequence[int] | None = None) -> Tree:
    """Return the place of a rank.

    Parameters
    ----------
    rank, group, writer
        Which rank of which, and the one that all their bytes go to.
    nodes
        For each rank of the run a number of its node; nothing for a tree without leaders.
    """
    if nodes is None:
        if rank != writer:
            return Tree(writer, (), 1)
        return Tree(None, tuple((other,) for other in group if other != writer), 1)
    members: dict[int, list[int]] = {}
    for other in group:
        members.setdefault(nodes[other], []).append(other)
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


def divide(size: int, writers: int, lead: int, nodes: Sequence[int] | None = None) -> list[int]:
    """Return for each rank its writer rank, of so many that have about as many ranks each.

    Ranks that follow each other stay together, and those of one node, where that is known and there are as many nodes
    as writers. A writer rank is the first of its group, but where the lead is one of the group.

    Parameters
    ----------
    size, writers
        How many ranks there are, and how many of them shall write; more than there are ranks are as many as there are.
    lead
        A rank that is to write.
    nodes
        For each rank a number of its node.

    Examples
    --------
    >>> divide(6, 2, 0)
    [0, 0, 0, 3, 3, 3]
    >>> divide(6, 2, 4)
    [0, 0, 0, 4, 4, 4]
    """
    together = [[rank] for rank in range(size)]
    if nodes is not None and len(set(nodes)) >= writers:
        by_node: dict[int, list[int]] = {}
        for rank, node in enumerate(nodes):
            by_node.setdefault(node, []).append(rank)
        together = list(by_node.values())
    count = min(writers, len(together))
    found = [lead] * size
    for number in range(count):
        part = together[number * len(together) // count : (number + 1) * len(together) // count]
        group = [rank for ranks in part for rank in ranks]
        for rank in group:
            found[rank] = lead if lead in group else group[0]
    return found
