"""Whom each rank sends to: all bytes reach the writer rank once, in an order that sender and receiver share."""

from __future__ import annotations

import random

import pytest

from provml_hpc.transport.tree import Tree, divide, grow


def _forest(size: int, writer: int, nodes: list[int] | None) -> list[Tree]:
    return [grow(rank, range(size), writer, nodes) for rank in range(size)]


@pytest.mark.parametrize("writer", [0, 3, 6])
def test_without_nodes_all_send_to_the_writer_rank(writer: int) -> None:
    trees = _forest(7, writer, None)
    assert [tree.parent for tree in trees] == [None if rank == writer else writer for rank in range(7)]
    assert trees[writer].rows == tuple(rank for rank in range(7) if rank != writer)
    assert {tree.widest for tree in trees} == {1}


def test_a_node_sends_through_its_lowest_rank_and_the_writers_own_through_none() -> None:
    trees = _forest(8, 5, [0, 0, 1, 1, 2, 2, 2, 1])  # the writer rank is on the node of 4, 5 and 6
    assert [tree.parent for tree in trees] == [5, 0, 5, 2, 5, None, 5, 2]
    assert trees[5].children == ((4,), (6,), (0, 1), (2, 3, 7))
    assert trees[2].children == ((3,), (7,))
    assert {tree.widest for tree in trees} == {3}


def test_every_rank_comes_to_the_writer_once_whatever_the_nodes() -> None:
    draw = random.Random(4)
    for _ in range(200):
        size = draw.randint(1, 40)
        nodes, writer = [draw.randrange(6) for _ in range(size)], draw.randrange(size)
        trees = _forest(size, writer, nodes)
        assert sorted(trees[writer].rows) == [rank for rank in range(size) if rank != writer]
        for rank, tree in enumerate(trees):
            for branch in tree.children:
                # Who sends on for others has them in the order in which the receiver expects them.
                assert trees[branch[0]].parent == rank
                assert branch == (branch[0], *trees[branch[0]].rows)


def test_every_rank_has_one_writer_rank_that_is_of_its_own_group() -> None:
    draw = random.Random(5)
    for _ in range(300):
        size, wanted = draw.randint(1, 40), draw.randint(1, 45)
        lead = draw.randrange(size)
        nodes = draw.choice([None, [rank // 4 for rank in range(size)], [draw.randrange(6) for _ in range(size)]])
        writers = divide(size, wanted, lead, nodes)
        every = set(writers)
        assert lead in every
        assert len(every) == min(wanted, size)
        assert all(writers[writer] == writer for writer in every)
        groups = [[rank for rank in range(size) if writers[rank] == writer] for writer in every]
        if nodes is None:
            assert all(group == list(range(group[0], group[-1] + 1)) for group in groups)
            assert max(map(len, groups)) - min(map(len, groups)) <= 1
        elif len(set(nodes)) >= wanted:
            # No node sends to two writer ranks.
            assert all(len({writers[rank] for rank in range(size) if nodes[rank] == node}) == 1 for node in nodes)
        # Each group is a tree of its own.
        for group in groups:
            writer = writers[group[0]]
            trees = {rank: grow(rank, group, writer, nodes) for rank in group}
            assert sorted(trees[writer].rows) == [rank for rank in group if rank != writer]
            assert {tree.parent for rank, tree in trees.items() if rank != writer} <= set(group)
