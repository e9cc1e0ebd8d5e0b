"""A flush point as the ranks of one writer rank take it: what each tells and has goes up to it, its answer down.

A rank sends a row that tells its state, what it has to say, and its bytes, and then waits, once, for the answer. What
it sends unasked is below a quota; who has more is asked for the next part when the writer rank has made room, so that
its memory is bounded. All that is sent is of a size that the receiver knows by then, in messages from rank to rank:
nobody waits for a rank that sleeps, as in a collective, but the one that it sends to.

Up, with one tag: the rows of all ranks that the sender sends for; their requests, if there are any; the first part of
their bytes, if there are any; a further part each time that it is asked. Down, with another: words of one size, each
either "more" or the answer, with what does not fit into it behind it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from provml_hpc.transport.base import Agreement, Report, Sink, cut, flatten, pieces

if TYPE_CHECKING:
    from mpi4py import MPI

    from provml_hpc.transport.steps import Steps
    from provml_hpc.transport.tree import Tree

_UP, _DOWN = 8, 9
_ROW = struct.Struct("<QII")  # bytes, flags, bytes of the requests
_FINISHING, _STOP = 1, 2
_WORD = struct.Struct("<BB6xQ")  # kind, flags of the agreement, bytes of the payload
_MORE, _ANSWER = 1, 2
_ALL, _STOPPED, _ASKED = 1, 2, 4
_SIZE = 256  # of a word
WHAT = "a flush point"

Decide = Callable[[Agreement, "Exception | None"], "tuple[Agreement, bytes]"]
"""Makes of what the ranks of a meeting agree on, and of what the sink raised, what all are told: what the whole run
agrees on, and a payload."""


class Meeting:
    """The part in flush points, one after the other, of a rank that others send to: the writer rank, or a leader.

    Parameters
    ----------
    steps
        What sends and waits.
    tree
        The place of this rank.
    rank
        Its number.
    quota
        Bytes of one rank that go up at once.
    cap
        Largest view, in bytes, that the sink gets.
    """

    def __init__(self, steps: Steps, tree: Tree, rank: int, quota: int, cap: int) -> None:
        self._steps, self._tree, self._rank = steps, tree, rank
        self._quota, self._cap = quota, cap
        self._until: float | None = None
        self._error: Exception | None = None
        self._room = bytearray()

    def forget(self) -> None:
        """Let go of the memory that is kept from one flush point to the next."""
        self._room = bytearray()

    def hold(
        self,
        report: Report,
        chunks: Sequence[memoryview],
        sink: Sink | None,
        decide: Decide | None,
        until: float | None,
    ) -> tuple[Agreement, bytes]:
        """Take part in a flush point until a monotonic time in seconds; see `Transport.meet`."""
        self._until, self._error = until, None
        flat = flatten(chunks)
        table = self._collect(_row(report, sum(map(len, flat))), [_ROW.size] * (1 + len(self._tree.rows)))
        found = list(_ROW.iter_unpack(table))
        letters = self._collect(report.requests, [one[2] for one in found])
        sizes = [one[0] for one in found]
        if self._tree.parent is None:
            assert decide is not None
            self._take_in(flat, sizes, sink)
            agreement, payload = decide(self._agree(found, letters), self._error)
            self._tell(_answer(agreement, payload))
            return agreement, payload
        return self._send_on(flat, sizes, table, letters)

    def _collect(self, mine: bytes, lengths: list[int]) -> bytearray:
        """Return what is of this rank and of all that it sends for, of so many bytes each."""
        whole = bytearray(sum(lengths))
        whole[: len(mine)] = mine
        self._steps.wait(self._receive(memoryview(whole), self._ends(lengths)), WHAT, self._until)
        return whole

    def _ends(self, lengths: list[int]) -> list[tuple[int, int]]:
        """Return where, behind those of this rank, those of each child begin and end; at last, where all of them do."""
        starts, at, found = list(accumulate(lengths, initial=0)), 1, []
        for branch in self._tree.children:
            found.append((starts[at], starts[at + len(branch)]))
            at += len(branch)
        return [*found, (0, starts[-1])]

    def _receive(self, data: memoryview, ends: list[tuple[int, int]]) -> list[MPI.Request]:
        """Start to receive what the children send, each into its place."""
        return [
            self._steps.receive(data[start:stop], branch[0], _UP)
            for branch, (start, stop) in zip(self._tree.children, ends, strict=False)
            if stop > start
        ]

    # The writer rank.

    def _take_in(self, flat: list[memoryview], sizes: list[int], sink: Sink | None) -> None:
        """Give all bytes to the sink: those of this rank while the others' are on their way, then round by round."""
        left, ranks = [0, *sizes[1:]], (self._rank, *self._tree.rows)
        first = True
        while True:
            parts = [min(size, self._quota) for size in left]
            starts = list(accumulate(parts, initial=0))
            room = self._make_room(starts[-1])
            wanted = self._receive(room, self._ends(parts))
            if first:
                for piece in pieces(flat, self._cap):
                    self._deliver(sink, piece, [(self._rank, 0, piece.nbytes)])
            self._steps.wait(wanted, WHAT, self._until)
            if starts[-1]:
                spans = [(rank, *span) for rank, span in zip(ranks, pairwise(starts), strict=True) if span[1] > span[0]]
                self._deliver(sink, room[: starts[-1]], spans)
            left = [size - part for size, part in zip(left, parts, strict=True)]
            if self._error is not None or not any(left):
                return
            first = False
            self._ask(left)

    def _deliver(self, sink: Sink | None, data: memoryview, spans: list[tuple[int, int, int]]) -> None:
        """Feed the sink unless it failed before."""
        if sink is None or self._error is not None:
            return
        try:
            sink(data, spans)
        except Exception as error:
            self._error = error

    def _agree(self, found: list[tuple[int, ...]], letters: bytearray) -> Agreement:
        requests, at = {}, 0
        for rank, (_, _, length) in zip((self._rank, *self._tree.rows), found, strict=True):
            if length:
                requests[rank] = bytes(letters[at : at + length])
                at += length
        return Agreement(
            all_finishing=all(flags & _FINISHING for _, flags, _ in found),
            any_stop=any(flags & _STOP for _, flags, _ in found),
            has_requests=bool(requests),
            requests=requests,
        )

    # The way down.

    def _ask(self, left: list[int]) -> None:
        """Ask for more, where there is more."""
        word = _WORD.pack(_MORE, 0, 0).ljust(_SIZE, b"\0")
        asked = [
            self._steps.send(word, branch[0], _DOWN)
            for branch, (start, stop) in zip(self._tree.children, self._ends(left), strict=False)
            if stop > start
        ]
        self._steps.wait(asked, WHAT, self._until)

    def _tell(self, messages: Sequence[bytes | bytearray]) -> None:
        """Send the answer to all children, and wait until it is on its way."""
        sent = [self._steps.send(data, branch[0], _DOWN) for branch in self._tree.children for data in messages]
        self._steps.wait(sent, WHAT, self._until)

    # A leader.

    def _send_on(
        self, flat: list[memoryview], sizes: list[int], table: bytearray, letters: bytearray
    ) -> tuple[Agreement, bytes]:
        parent = self._tree.parent
        assert parent is not None
        sent = [self._steps.send(data, parent, _UP) for data in (table, letters) if data]
        left, done = sizes, 0
        while True:
            parts = [min(size, self._quota) for size in left]
            mine = cut(flat, done, done + parts[0])
            done += parts[0]
            if any(parts[1:]):
                total = sum(parts)
                room = self._make_room(total)
                room[: parts[0]] = mine
                self._steps.wait(self._receive(room, self._ends(parts)), WHAT, self._until)
                mine = room[:total]
            if mine.nbytes:
                sent.append(self._steps.send(mine, parent, _UP))
            left = [size - part for size, part in zip(left, parts, strict=True)]
            word = _hear(self._steps, parent, sent, self._until)
            if word[0] == _ANSWER:
                break
            sent = []
            self._ask(left)
        messages, agreement, payload = _understand(self._steps, parent, word, self._until)
        self._tell(messages)
        return agreement, payload

    def _make_room(self, size: int) -> memoryview:
        """Return memory for a round: fresh pages cost more than the bytes that fill them, so it is kept."""
        if len(self._room) < size:
            self._room = bytearray(size)
        return memoryview(self._room)


class Leaf:
    """The part in flush points of a rank that nobody sends to, which is nearly every one.

    Parameters
    ----------
    steps
        What sends and waits.
    parent
        The rank that it sends to.
    quota
        Bytes that go up at once.
    """

    def __init__(self, steps: Steps, parent: int, quota: int) -> None:
        self._steps, self._parent, self._quota = steps, parent, quota

    def forget(self) -> None:
        """Do nothing: no memory is kept."""

    def hold(
        self,
        report: Report,
        chunks: Sequence[memoryview],
        sink: Sink | None,
        decide: Decide | None,
        until: float | None,
    ) -> tuple[Agreement, bytes]:
        """Take part in a flush point until a monotonic time in seconds; see `Transport.meet`."""
        steps, parent = self._steps, self._parent
        flat = flatten(chunks)
        size = sum(map(len, flat))
        sent = [steps.send(_row(report, size), parent, _UP)]
        if report.requests:
            sent.append(steps.send(report.requests, parent, _UP))
        for start in range(0, size or 1, self._quota):
            if size:
                mine = flat[0] if size == len(flat[0]) <= self._quota else cut(flat, start, start + self._quota)
                sent.append(steps.send(mine, parent, _UP))
            word = _hear(steps, parent, sent, until)
            if word[0] == _ANSWER:
                break
            sent = []
        _, agreement, payload = _understand(steps, parent, word, until)
        return agreement, payload


def _row(report: Report, size: int) -> bytes:
    """Return what a rank tells at first."""
    return _ROW.pack(size, report.finishing * _FINISHING | report.stop_requested * _STOP, len(report.requests))


def _answer(agreement: Agreement, payload: bytes) -> list[bytes]:
    """Return the messages of an answer: the word, and the payload if it does not fit into that."""
    flags = agreement.all_finishing * _ALL | agreement.any_stop * _STOPPED | agreement.has_requests * _ASKED
    head = _WORD.pack(_ANSWER, flags, len(payload))
    if len(head) + len(payload) <= _SIZE:
        return [(head + payload).ljust(_SIZE, b"\0")]
    return [head.ljust(_SIZE, b"\0"), payload]


def _hear(steps: Steps, parent: int, sent: list[MPI.Request], until: float | None) -> bytearray:
    """Return the word that comes down, once all that was sent has left."""
    word = bytearray(_SIZE)
    coming = steps.receive(word, parent, _DOWN)
    # First what the others may need this rank for: MPI moves bytes only while it is called.
    steps.wait(sent, WHAT, until)
    steps.wait([coming], WHAT, until, alone=True)
    return word


def _understand(
    steps: Steps, parent: int, word: bytearray, until: float | None
) -> tuple[list[bytearray], Agreement, bytes]:
    """Return the messages of an answer that begins with a word, what the ranks agree on, and the payload."""
    _, flags, length = _WORD.unpack_from(word)
    messages = [word]
    if _WORD.size + length > _SIZE:
        messages.append(bytearray(length))
        steps.wait([steps.receive(messages[1], parent, _DOWN)], WHAT, until)
        payload = bytes(messages[1])
    else:
        payload = bytes(word[_WORD.size : _WORD.size + length])
    return messages, Agreement(bool(flags & _ALL), bool(flags & _STOPPED), bool(flags & _ASKED)), payload
