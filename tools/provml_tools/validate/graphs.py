"""Directed graphs: in which order their nodes stand, which are on a common cycle, and a path between two of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Order:
    """The order of the nodes of a large graph, whose edges are two arrays.

    Nodes are taken when nothing before them is left. What is left at the end is on a cycle, or behind one: only of
    that lists are made, to part it into components. A graph without cycles takes some 30 bytes an edge.

    Parameters
    ----------
    size
        The number of nodes.
    before, after
        The two ends of each edge, shape (n,).
    """

    def __init__(self, size: int, before: Any, after: Any) -> None:
        self._size, self._before, self._after = size, before, after
        self.edges: Any = np.argsort(before, kind="stable").astype(np.int32)
        """The edges, brought together by the node that they begin at."""
        self.starts: Any = np.zeros(size + 1, np.int32)
        """Where those of each node begin, and end."""
        np.cumsum(np.bincount(before, minlength=size), out=self.starts[1:])
        self.group: Any = np.arange(size, dtype=np.int32)
        """For each node one node of its component."""
        self.members: dict[int, list[int]] = {}
        """The nodes of each component of several, by that node; also of one that has an edge to itself."""
        self.sequence: Any = np.empty(size, np.int32)
        """All nodes, so that one comes after all that precede it; those of a component come together."""
        waiting = np.bincount(after, minlength=size).astype(np.int32)
        done = self._take(waiting, np.flatnonzero(waiting == 0), 0)
        if done < size:
            left = np.ones(size, bool)
            left[self.sequence[:done]] = False
            self._part(np.flatnonzero(left), np.flatnonzero(left[before] & left[after]))
            inner = np.flatnonzero(left[before] & (self.group[before] != self.group[after]))
            waiting = np.bincount(self.group[after[inner]], minlength=size).astype(np.int32)
            free = [node for node in np.unique(self.group[left]).tolist() if not waiting[node]]
            self._take(waiting, [one for node in free for one in self.members.get(node, [node])], done)

    def _take(self, waiting: Any, free: Any, done: int) -> int:
        """Put nodes into the sequence behind the first `done`, and all that they free; return how many are in it."""
        last = done + len(free)
        self.sequence[done:last] = free
        arrays = (self.sequence, self.starts, self._after[self.edges], self.group, waiting)
        # Views, of which single numbers are quickly had.
        views: list[Any] = [memoryview(one) for one in arrays]
        sequence, starts, ends, group, left = views
        members = self.members
        while done < last:
            node = sequence[done]
            done += 1
            own = group[node]
            for other in ends[starts[node] : starts[node + 1]]:
                other = group[other]
                if other == own:
                    continue
                left[other] -= 1
                if not left[other]:
                    for one in members.get(other, (other,)) if members else (other,):
                        sequence[last] = one
                        last += 1
        return last

    def _part(self, nodes: Any, edges: Any) -> None:
        """Part nodes into their components, by the edges between them."""
        local: list[list[int]] = [[] for _ in nodes]
        ends = (np.searchsorted(nodes, some[edges]).tolist() for some in (self._before, self._after))
        for one, other in zip(*ends, strict=True):
            local[one].append(other)
        component, count = components(local)
        parts: list[list[int]] = [[] for _ in range(count)]
        for at, number in enumerate(component):
            parts[number].append(at)
        for part in parts:
            if len(part) > 1 or part[0] in local[part[0]]:
                found = nodes[part].tolist()
                self.members[found[0]] = found
                self.group[found] = found[0]

    def inside(self) -> Any:
        """Return the edges between nodes of one component, in their order."""
        on_cycle = np.zeros(self._size, bool)
        for nodes in self.members.values():
            on_cycle[nodes] = True
        edges = np.flatnonzero(on_cycle[self._before])
        return edges[self.group[self._before[edges]] == self.group[self._after[edges]]]


def components(successors: Sequence[Sequence[int]]) -> tuple[list[int], int]:
    """Return for each node the number of its strongly connected component, and how many there are.

    Tarjan's algorithm, without recursion, since a chain of checkpoints can be long.

    Examples
    --------
    >>> components([[1], [0], [0]])
    ([0, 0, 1], 2)
    """
    size = len(successors)
    order, lowest, found = [-1] * size, [0] * size, [-1] * size
    stack: list[int] = []
    number = count = 0
    for root in range(size):
        if order[root] != -1:
            continue
        order[root] = lowest[root] = number
        number += 1
        stack.append(root)
        work = [(root, iter(successors[root]))]
        while work:
            node, rest = work[-1]
            for after in rest:
                if order[after] == -1:
                    order[after] = lowest[after] = number
                    number += 1
                    stack.append(after)
                    work.append((after, iter(successors[after])))
                    break
                if found[after] == -1:
                    lowest[node] = min(lowest[node], order[after])
            else:
                work.pop()
                if work:
                    above = work[-1][0]
                    lowest[above] = min(lowest[above], lowest[node])
                if lowest[node] == order[node]:
                    while True:
                        member = stack.pop()
                        found[member] = count
                        if member == node:
                            break
                    count += 1
    return found, count


def path(successors: Mapping[int, Sequence[int]], start: int, end: int) -> list[int]:
    """Return the nodes of a shortest path, both ends included, empty if there is none."""
    came: dict[int, int] = {start: start}
    waiting = deque([start])
    while waiting:
        node = waiting.popleft()
        if node == end:
            steps = [node]
            while steps[-1] != start:
                steps.append(came[steps[-1]])
            return steps[::-1]
        for after in successors.get(node, ()):
            if after not in came:
                came[after] = node
                waiting.append(after)
    return []
