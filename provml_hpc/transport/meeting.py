"""A flush point as all ranks take it together: what each tells and has goes up to the writer rank, its answer down.

A rank sends a row that tells its state, what it has to say, and its bytes, and then waits, once, for the answer. What
it sends unasked is below a quota; who has more is asked for the next part when the writer rank has made room, so that
its memory is bounded. All that is sent is of a size that the receiver knows by then, in messages from rank to rank:
nobody waits for a rank that sleeps, as in a collective, but the one that it sends to.

Up, with one tag: the rows of all ranks that the sender sends for; their letters (trouble, requests), if there are any;
the first part of their bytes, if there are any; a further part each time that it is asked. Down, with another: words of
one size, each either "more" or the answer, with what does not fit into it behind it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from provml_hpc.transport.base import (
    TROUBLE_BYTES,
    Agreement,
    Answer,
    Report,
    Sink,
    Trouble,
    clip,
    cut,
    flatten,
    pieces,
)

if TYPE_CHECKING:
    from mpi4py import MPI

    from provml_hpc.transport.steps import Steps
    from provml_hpc.transport.tree import Tree

_UP, _DOWN = 8, 9
_ROW = struct.Struct("<QIII4x")  # bytes, flags, bytes of the trouble's text and its mark, bytes of the requests
_FINISHING, _STOP = 1, 2
_WORD = struct.Struct("<BBQQQ")  # kind, flags of the agreement, largest, bytes of the troubles, bytes of the payload
_MORE, _ANSWER = 1, 2
_ALL, _ANY, _STOPPED, _ASKED = 1, 2, 4, 8
_SIZE = 256  # of a word
WHAT = "a flush point"


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
        answer: Answer | None,
        until: float | None,
    ) -> tuple[Agreement, bytes]:
        """Take part in a flush point until a monotonic time in seconds; see `Transport.meet`."""
        self._until, self._error = until, None
        flat = flatten(chunks)
        row, letter = _told(report, sum(map(len, flat)))
        table = self._collect(row, [_ROW.size] * (1 + len(self._tree.rows)))
        found = list(_ROW.iter_unpack(table))
        letters = self._collect(letter, [one[2] + one[3] for one in found])
        sizes = [one[0] for one in found]
        if self._tree.parent is None:
            assert answer is not None
            self._take_in(flat, sizes, sink)
            agreement = self._agree(found, letters)
            payload = answer(agreement, self._error)
            self._tell(self._word(agreement, payload))
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
        ranks = (self._rank, *self._tree.rows)
        sizes, troubles, requests = [0] * len(ranks), [], [b""] * len(ranks)
        at, asked = 0, False
        for rank, (size, _, trouble, request) in zip(ranks, found, strict=True):
            sizes[rank] = size
            if trouble:
                troubles.append(Trouble(rank, letters[at + 1 : at + trouble].decode()))
            if request:
                asked, requests[rank] = True, bytes(letters[at + trouble : at + trouble + request])
            at += trouble + request
        flags = [row[1] for row in found]
        return Agreement(
            largest=max(sizes),
            all_finishing=all(flag & _FINISHING for flag in flags),
            any_finishing=any(flag & _FINISHING for flag in flags),
            any_stop=any(flag & _STOP for flag in flags),
            trouble=tuple(sorted(troubles, key=lambda trouble: trouble.rank)),
            sizes=tuple(sizes),
            requests=tuple(requests) if asked else (),
            has_requests=asked,
        )

    # The way down.

    def _ask(self, left: list[int]) -> None:
        """Ask for more, where there is more."""
        word = _WORD.pack(_MORE, 0, 0, 0, 0).ljust(_SIZE, b"\0")
        asked = [
            self._steps.send(word, branch[0], _DOWN)
            for branch, (start, stop) in zip(self._tree.children, self._ends(left), strict=False)
            if stop > start
        ]
        self._steps.wait(asked, WHAT, self._until)

    def _word(self, agreement: Agreement, payload: bytes) -> list[bytes]:
        """Return the answer: the word, and what does not fit into it."""
        flags = agreement.all_finishing * _ALL | agreement.any_finishing * _ANY
        flags |= agreement.any_stop * _STOPPED | agreement.has_requests * _ASKED
        troubles = (
            json.dumps([[one.rank, one.text] for one in agreement.trouble]).encode() if agreement.trouble else b""
        )
        body = troubles + payload
        head = _WORD.pack(_ANSWER, flags, agreement.largest, len(troubles), len(payload))
        if len(head) + len(body) <= _SIZE:
            return [(head + body).ljust(_SIZE, b"\0")]
        return [head.ljust(_SIZE, b"\0"), body]

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
        answer: Answer | None,
        until: float | None,
    ) -> tuple[Agreement, bytes]:
        """Take part in a flush point until a monotonic time in seconds; see `Transport.meet`."""
        steps, parent = self._steps, self._parent
        flat = flatten(chunks)
        size = sum(map(len, flat))
        row, letter = _told(report, size)
        sent = [steps.send(row, parent, _UP)]
        if letter:
            sent.append(steps.send(letter, parent, _UP))
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


def _told(report: Report, size: int) -> tuple[bytes, bytes]:
    """Return what a rank tells at first: its row, and its letter, which is empty where it has nothing to say."""
    trouble = b"" if report.trouble is None else b"!" + clip(report.trouble, TROUBLE_BYTES)
    flags = report.finishing * _FINISHING | report.stop_requested * _STOP
    return _ROW.pack(size, flags, len(trouble), len(report.requests)), trouble + report.requests


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
    _, flags, largest, troubled, length = _WORD.unpack_from(word)
    messages, payload = [word], b""
    trouble: tuple[Trouble, ...] = ()
    if troubled + length:
        body = memoryview(word)[_WORD.size : _WORD.size + troubled + length]
        if _WORD.size + troubled + length > _SIZE:
            messages.append(bytearray(troubled + length))
            body = memoryview(messages[1])
            steps.wait([steps.receive(body, parent, _DOWN)], WHAT, until)
        trouble = tuple(Trouble(*one) for one in json.loads(bytes(body[:troubled]))) if troubled else ()
        payload = bytes(body[troubled:])
    agreement = Agreement(
        largest, bool(flags & _ALL), bool(flags & _ANY), bool(flags & _STOPPED), bool(flags & _ASKED), trouble
    )
    return messages, agreement, payload
