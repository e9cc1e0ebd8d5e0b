"""Where everything in a picture stands: jobs from top to bottom, and the boxes of a job in rows below their origins.

The steps are those of Sugiyama, Tagawa and Toda (1981): rows by longest way, places for arrows that pass a row, fewer
crossings by sweeps of barycentres, and then places as near to the neighbours' as the order allows, which is a least
squares problem with a chain of distances (solved by pooling adjacent violators).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from provml_tools.query.picture.drawing import Drawing

WIDTH, GAP, PASS = 204.0, 22.0, 12.0
"""The width of a box, the least distance of two, and the width that a passing arrow gets; in pixels."""
ROW_GAP, PADDING, LANE_GAP, HEADER = 34.0, 18.0, 16.0, 168.0
SWEEPS = 8


@dataclass(eq=False)
class Place:
    """A box, or where an arrow passes a row (`box` is None then); `x` is its centre, `y` its top."""

    box: int | None
    lane: int
    row: tuple[int, int]
    """The rank of its lane, and its row there."""
    width: float
    height: float = 0.0
    x: float = 0.0
    y: float = 0.0
    near: list[Place] = field(default_factory=list)


@dataclass
class Layout:
    """Where boxes, lanes and arrows are; rectangles are x, y, width and height."""

    width: float
    height: float
    boxes: list[Place]
    lanes: list[tuple[float, float, float, float]]
    arrows: list[list[Place]]
    """The places that each arrow goes through, from its box to the other."""


def layout(drawing: Drawing, heights: Sequence[float]) -> Layout:
    """Give each box of a drawing its place.

    Parameters
    ----------
    drawing
        The picture.
    heights
        The height of each box in pixels.
    """
    count = len(drawing.boxes)
    lane_of = [box.lane for box in drawing.boxes]
    between = {(lane_of[a], lane_of[b]) for a, b in drawing.arrows if lane_of[a] != lane_of[b]}
    ranks = _levels(len(drawing.lanes), between)
    inside = [(a, b) for a, b in drawing.arrows if lane_of[a] == lane_of[b]]
    levels = _levels(count, inside)
    for one in range(count):
        after = [levels[b] for a, b in inside if a == one]
        if after and not any(b == one for _, b in inside):
            levels[one] = max(min(after) - 1, 0)  # what comes from nothing here stands next to what was made of it
    boxes = [Place(one, lane_of[one], (ranks[lane_of[one]], levels[one]), WIDTH, heights[one]) for one in range(count)]
    rows: dict[tuple[int, int], list[Place]] = defaultdict(list)
    for place in boxes:
        rows[place.row].append(place)
    order = sorted({(rank, level) for rank in set(ranks) for level in _rows_of(rank, boxes)})
    arrows = [_passing(boxes[a], boxes[b], order, ranks, rows) for a, b in drawing.arrows]
    for arrow in arrows:
        for above, below in itertools.pairwise(arrow):
            above.near.append(below)
            below.near.append(above)
    _untangle(rows, order)
    lanes = _arrange(rows, order, ranks)
    width = max(x + w for x, _, w, _ in lanes) + PADDING
    height = max(y + h for _, y, _, h in lanes) + PADDING
    return Layout(width, height, boxes, lanes, arrows)


def _levels(count: int, arrows: set[tuple[int, int]] | list[tuple[int, int]]) -> list[int]:
    """Return for each node the length of the longest way to it; arrows that close a circle do not count."""
    before: dict[int, list[int]] = defaultdict(list)
    for a, b in sorted(arrows):
        before[b].append(a)
    levels: list[int | None] = [None] * count
    for start in range(count):
        stack, on_way = [(start, False)], set[int]()
        while stack:
            node, done = stack.pop()
            if done:
                on_way.discard(node)
                known = [levels[a] for a in before[node] if a not in on_way]
                levels[node] = 1 + max((level for level in known if level is not None), default=-1)
            elif levels[node] is None and node not in on_way:
                on_way.add(node)
                stack.append((node, True))
                stack += [(a, False) for a in before[node] if levels[a] is None and a not in on_way]
    return [level or 0 for level in levels]


def _rows_of(rank: int, boxes: list[Place]) -> range:
    return range(1 + max((place.row[1] for place in boxes if place.row[0] == rank), default=-1))


def _passing(
    one: Place,
    other: Place,
    order: list[tuple[int, int]],
    ranks: list[int],
    rows: dict[tuple[int, int], list[Place]],
) -> list[Place]:
    """Return the places of an arrow: its two boxes, and one in each row that it passes."""
    found = [one]
    first, last = sorted((order.index(one.row), order.index(other.row)))
    between = order[first + 1 : last]
    for row in between if one.row <= other.row else reversed(between):
        lane = one.lane if row[0] == one.row[0] else other.lane if row[0] == other.row[0] else ranks.index(row[0])
        place = Place(None, lane, row, PASS)
        rows[row].append(place)
        found.append(place)
    return [*found, other]


def _untangle(rows: dict[tuple[int, int], list[Place]], order: list[tuple[int, int]]) -> None:
    """Put each row in an order with few crossings: by where the neighbours in the rows around it stand."""
    at: dict[int, float] = {}

    def number(row: list[Place]) -> None:
        for place, one in enumerate(row):
            at[id(one)] = (place + 0.5) / len(row)

    for row in order:
        rows[row].sort(key=lambda one: one.lane)
        number(rows[row])
    for sweep in range(SWEEPS):
        for row in order if sweep % 2 == 0 else reversed(order):
            wanted = {
                id(one): sum(at[id(near)] for near in one.near) / len(one.near) if one.near else at[id(one)]
                for one in rows[row]
            }
            rows[row].sort(key=lambda one, wanted=wanted: (one.lane, wanted[id(one)]))  # type: ignore[misc]
            number(rows[row])


def _arrange(
    rows: dict[tuple[int, int], list[Place]], order: list[tuple[int, int]], ranks: list[int]
) -> list[tuple[float, float, float, float]]:
    """Set the coordinates of all places, and return the rectangles of the lanes."""
    alone = {rank for rank in ranks if ranks.count(rank) == 1}
    for row in order:
        for lane in {one.lane for one in rows[row]}:
            _set_row([one for one in rows[row] if one.lane == lane], [])
    for sweep in range(2 * SWEEPS):
        for row in order if sweep % 2 == 0 else reversed(order):
            for lane in {one.lane for one in rows[row]}:
                mine = [one for one in rows[row] if one.lane == lane]
                _set_row(mine, [_wanted(one, alone) for one in mine])
    extents: dict[int, tuple[float, float]] = {}
    for row in order:
        for one in rows[row]:
            low, high = extents.get(one.lane, (one.x, one.x))
            extents[one.lane] = min(low, one.x - one.width / 2), max(high, one.x + one.width / 2)
    shift = _side_by_side(extents, ranks, alone)
    lanes: list[tuple[float, float, float, float]] = [(0.0, 0.0, 0.0, 0.0)] * len(ranks)
    top = PADDING
    for rank in sorted(set(ranks)):
        y = top + PADDING
        for row in [row for row in order if row[0] == rank]:
            height = max((one.height for one in rows[row]), default=0.0)
            for one in rows[row]:
                one.x += shift[one.lane]
                one.y = y + (height - one.height) / 2 if one.box is not None else y
                one.height = one.height if one.box is not None else height
            y += height + ROW_GAP
        height = max(y - ROW_GAP + PADDING - top, 96.0)
        for lane in [lane for lane, one in enumerate(ranks) if one == rank]:
            low, high = extents.get(lane, (0.0, 0.0))
            x = low + shift[lane] - HEADER
            lanes[lane] = (x, top, high - low + HEADER + PADDING, height)
        top += height + LANE_GAP
    # The lanes of every rank, together, begin and end alike.
    left = min(x for x, _, _, _ in lanes)
    right = max(x + width for x, _, width, _ in lanes)
    move = PADDING - left
    for row in order:
        for one in rows[row]:
            one.x += move
    found = []
    for lane, (x, y, width, height) in enumerate(lanes):
        beside = [one for one, rank in enumerate(ranks) if rank == ranks[lane]]
        first = PADDING if lane == beside[0] else x + move
        last = PADDING + right - left if lane == beside[-1] else x + move + width
        found.append((first, y, last - first, height))
    return found


def _wanted(one: Place, alone: set[int]) -> float:
    near = [other.x for other in one.near if other.lane == one.lane or (one.row[0] in alone and other.row[0] in alone)]
    return sum(near) / len(near) if near else one.x


def _set_row(row: list[Place], wanted: list[float]) -> None:
    """Place a row in its order, each as near to where it is wanted as the others let it; packed if none is wanted."""
    offsets, at = [], 0.0
    for before, one in zip([None, *row], row, strict=False):
        at += 0.0 if before is None else before.width / 2 + GAP + one.width / 2
        offsets.append(at)
    if not wanted:
        for one, offset in zip(row, offsets, strict=True):
            one.x = offset - at / 2
        return
    pools: list[tuple[float, int]] = []
    for goal, offset in zip(wanted, offsets, strict=True):
        pools.append((goal - offset, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (mean, many), (earlier, few) = pools.pop(), pools.pop()
            pools.append(((mean * many + earlier * few) / (many + few), many + few))
    values = [mean for mean, many in pools for _ in range(many)]
    for one, value, offset in zip(row, values, offsets, strict=True):
        one.x = value + offset


def _side_by_side(extents: dict[int, tuple[float, float]], ranks: list[int], alone: set[int]) -> list[float]:
    """Return by how much each lane moves, so that those of one rank stand beside each other, in the middle."""
    shift = [0.0] * len(ranks)
    middle = [sum(extents[lane]) / 2 for lane in extents if ranks[lane] in alone]
    centre = sum(middle) / len(middle) if middle else 0.0
    for rank in set(ranks) - alone:
        lanes = [lane for lane, one in enumerate(ranks) if one == rank]
        widths = [extents[lane][1] - extents[lane][0] + HEADER + PADDING for lane in lanes]
        x = centre - (sum(widths) + LANE_GAP * (len(lanes) - 1)) / 2
        for lane, width in zip(lanes, widths, strict=True):
            shift[lane] = x + HEADER - extents[lane][0]
            x += width + LANE_GAP
    return shift
