"""Directed graphs as lists of successors: which nodes are on a common cycle, and a path between two of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


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


def path(successors: Sequence[Sequence[int]], start: int, end: int, inside: set[int]) -> list[int]:
    """Return the nodes of a shortest path, both ends included, through nodes of a set; empty if there is none."""
    came: dict[int, int] = {start: start}
    waiting = deque([start])
    while waiting:
        node = waiting.popleft()
        if node == end:
            steps = [node]
            while steps[-1] != start:
                steps.append(came[steps[-1]])
            return steps[::-1]
        for after in successors[node]:
            if after in inside and after not in came:
                came[after] = node
                waiting.append(after)
    return []
