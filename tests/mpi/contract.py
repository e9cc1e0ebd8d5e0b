"""What every transport promises, as checks that run alike on one rank and on many, over MPI and without.

Each check gets a function that makes the transport for a cap of a round, and is called by all its ranks at once.
"""

from __future__ import annotations

import ast
import itertools
import time
from collections.abc import Callable, Mapping, Sequence

from provml_hpc.errors import TransportError, UsageError
from provml_hpc.transport import Agreement, Report, Transport

Make = Callable[[int], Transport]
Got = dict[int, bytes]
KIB = 1 << 10


def _raises(error: type[BaseException], call: Callable[[], object]) -> BaseException:
    try:
        call()
    except error as raised:
        return raised
    raise AssertionError(f"{error.__name__} was not raised")


def _bytes_of(rank: int, size: int) -> bytes:
    """Return bytes that say whose they are and where they stand."""
    unit = bytes((rank * 59 + i * 7) % 251 for i in range(251))
    return (unit * (size // len(unit) + 1))[:size]


def _chunks(data: bytes, sizes: tuple[int, ...]) -> list[memoryview]:
    ends = list(itertools.accumulate(sizes, initial=0))
    return [memoryview(data)[start:stop] for start, stop in itertools.pairwise([*ends, len(data)])]


def _meet(transport: Transport, report: Report | None = None) -> Agreement:
    agreement, answer = transport.meet(report or Report(), [])
    assert answer == b""
    return agreement


def _spread(transport: Transport, payload: bytes) -> bytes:
    return transport.broadcast(payload, transport.lead)


def _flush(transport: Transport, data: bytes, chunks: list[memoryview], largest_piece: int) -> tuple[Got, int]:
    """Return what came to this rank, by rank, and how many bytes came to all writer ranks."""
    got: dict[int, list[bytes]] = {}

    def sink(piece: memoryview, spans: Sequence[tuple[int, int, int]]) -> None:
        assert transport.rank == transport.writer
        assert 0 < piece.nbytes <= largest_piece
        assert piece.contiguous
        end = 0
        for rank, start, stop in spans:
            assert end == start < stop
            got.setdefault(rank, []).append(bytes(piece[start:stop]))
            end = stop
        assert end == piece.nbytes

    def commit(agreement: Agreement, error: Exception | None) -> bytes:
        assert transport.rank == transport.writer
        assert error is None
        return b"%d" % sum(len(part) for parts in got.values() for part in parts)

    def answer(agreement: Agreement, said: Mapping[int, bytes]) -> bytes:
        assert transport.rank == transport.lead
        assert transport.rank in said
        return b"%d" % sum(map(int, said.values()))

    _, answered = transport.meet(Report(), chunks, sink, commit, answer)
    assert int(answered) >= len(data)
    assert transport.rank == transport.writer or not got
    return {rank: b"".join(parts) for rank, parts in got.items()}, int(answered)


def the_ranks_are_told(make: Make) -> None:
    transport = make(KIB)
    assert isinstance(transport, Transport)
    assert 0 <= transport.rank < transport.size
    assert 0 <= transport.writer < transport.size
    assert 0 <= transport.lead < transport.size
    assert transport.failure is None
    assert transport.notices() == []
    assert transport.close()


def all_ranks_agree(make: Make) -> None:
    transport = make(KIB)
    last, rank = transport.size - 1, transport.rank
    for stopping in range(transport.size):
        agreement = _meet(transport, Report(finishing=rank == 0, stop_requested=rank == stopping))
        assert agreement.all_finishing == (last == 0)
        assert agreement.any_stop
        assert not agreement.has_requests
        assert not agreement.requests
    agreement = _meet(transport, Report(finishing=True, requests=b"?" if rank == last else b""))
    assert not agreement.any_stop
    assert agreement.all_finishing
    assert agreement.has_requests
    assert agreement.requests == ({last: b"?"} if rank == transport.lead else {})
    assert not _meet(transport).all_finishing
    assert transport.close()


def what_writer_ranks_say_reaches_the_lead(make: Make) -> None:
    transport = make(KIB)
    for length in (0, 1, 300, 70_000):
        asked = b"x" * length if transport.rank % 2 else b""
        _, answer = transport.meet(
            Report(requests=asked),
            [],
            None,
            lambda agreement, error: _bytes_of(transport.rank, length),  # noqa: B023 - used at once
            lambda agreement, said: repr(said).encode(),
        )
        said = {int(rank): bytes(text) for rank, text in ast.literal_eval(answer.decode()).items()}
        assert said == {rank: _bytes_of(rank, length) for rank in said}
        assert bool(said) == bool(length)
        assert not length or {transport.writer, transport.lead} <= said.keys()
    assert transport.close()


def requests_and_answers_of_any_length_arrive(make: Make) -> None:
    transport = make(KIB)
    rank, size = transport.rank, transport.size
    for length in (0, 1, 200, 229, 230, 231, 256, 257, 5000, 70_000):
        mine = _bytes_of(rank, length if rank == size - 1 else rank)

        def answer(agreement: Agreement, said: Mapping[int, bytes], more: bytes = _bytes_of(7, length)) -> bytes:
            return b"".join(text for _, text in sorted(agreement.requests.items())) + more

        agreement, answered = transport.meet(Report(requests=mine), [], answer=answer)
        wanted = [_bytes_of(r, length if r == size - 1 else r) for r in range(size)]
        assert answered == b"".join(wanted) + _bytes_of(7, length)
        if rank == transport.lead:
            assert agreement.requests == {r: text for r, text in enumerate(wanted) if text}
    assert transport.close()


def uneven_bytes_arrive_whole(make: Make) -> None:
    """100 KiB and more in rounds of 1 KiB, some ranks with nothing, one with nearly all, in chunks and not."""
    spreads: list[Callable[[int], int]] = [
        lambda rank: 100 * KIB // (rank + 1) + rank,
        lambda rank: 0 if rank % 2 else 33_333,
        lambda rank: 51_200 if rank == transport.size - 1 else 3,
        lambda rank: 51_200 if rank == transport.lead else 0,
        lambda rank: 0 if rank == transport.lead else 2048,
        lambda rank: KIB,
        lambda rank: 0,
        lambda rank: 1,
    ]
    for cap in (KIB, 64 * KIB, 1 << 30):
        transport = make(cap)
        for spread, parts in itertools.product(spreads, [(), (0, 1, 1000, 0, 7)]):
            data = _bytes_of(transport.rank, spread(transport.rank))
            got, whole = _flush(transport, data, _chunks(data, parts), cap)
            assert got == {rank: _bytes_of(rank, spread(rank)) for rank in got}
            assert whole == sum(map(spread, range(transport.size)))
        assert transport.close()


def words_are_not_torn(make: Make) -> None:
    transport = make(1003)  # no multiple of 8
    data = _bytes_of(transport.rank, 8 * (1000 + 11 * transport.rank))
    lengths: list[int] = []
    transport.meet(
        Report(),
        [memoryview(data)],
        lambda piece, spans: lengths.extend([stop - start for _, start, stop in spans]),
    )
    assert all(length % 8 == 0 for length in lengths)
    assert bool(lengths) == (transport.rank == transport.writer)
    assert transport.close()


def a_typed_chunk_counts_its_bytes(make: Make) -> None:
    transport = make(KIB)
    data = _bytes_of(transport.rank, 4096)
    got, whole = _flush(transport, data, [memoryview(bytearray(data)).cast("Q")], KIB)
    assert got == {rank: _bytes_of(rank, 4096) for rank in got}
    assert whole == 4096 * transport.size
    assert transport.close()


def a_failing_sink_keeps_nobody_waiting(make: Make) -> None:
    transport = make(KIB)
    writing = transport.rank == transport.writer
    for fail_at in (1, 3):
        calls = 0

        def sink(piece: memoryview, spans: Sequence[tuple[int, int, int]]) -> None:
            nonlocal calls
            calls += 1
            if calls == fail_at:  # noqa: B023 - used within this turn of the loop alone
                raise OSError("the disk is full")

        data = _bytes_of(transport.rank, 20 * KIB)
        _, answer = transport.meet(
            Report(),
            [memoryview(data)],
            sink,
            lambda agreement, error: str(error).encode(),
            lambda agreement, said: b" ".join({*said.values()}),
        )
        assert answer == b"the disk is full"
        assert calls == (fail_at if writing else 0), "a sink that failed is not called again"
        assert transport.failure is None
    got, whole = _flush(transport, b"12345678", [memoryview(b"12345678")], KIB)
    assert set(got.values()) <= {b"12345678"}
    assert whole == 8 * transport.size
    assert transport.close()


def small_bytes_travel_all_ways(make: Make) -> None:
    transport = make(KIB)
    rank, size = transport.rank, transport.size
    for length in (0, 1, 247, 248, 249, 256, 257, 5000, 70_000):
        whole = [_bytes_of(r, length) for r in range(size)]
        mixed = [_bytes_of(r, length if r == size - 1 else r) for r in range(size)]
        assert _spread(transport, whole[rank]) == whole[transport.lead]
        for root in range(size):
            assert transport.broadcast(whole[rank] if rank == root else b"ignored", root) == whole[root]
        assert transport.allgather(mixed[rank]) == mixed
    _raises(UsageError, lambda: transport.broadcast(b"", size))
    _raises(UsageError, lambda: transport.broadcast(b"", -1))
    assert transport.close()


def deadlines_do_not_end_what_goes_well(make: Make) -> None:
    transport = make(KIB)
    data = _bytes_of(transport.rank, 9000)
    for deadline in (None, 60.0):
        _, answer = transport.meet(
            Report(),
            [memoryview(data)],
            lambda piece, spans: None,
            answer=lambda agreement, said: b"y",
            deadline=deadline,
        )
        assert answer == b"y"
        assert transport.broadcast(b"x" * 1000, transport.lead, deadline=deadline) == b"x" * 1000
        transport.allgather(data, deadline=deadline)
    assert transport.close(deadline=60.0)


def many_flush_points_stay_in_order(make: Make) -> None:
    transport = make(KIB)
    for turn in range(60):
        data = _bytes_of(transport.rank + turn, (turn * 131) % 3000)
        got, whole = _flush(transport, data, [memoryview(data)], KIB)
        assert got == {rank: _bytes_of(rank + turn, len(data)) for rank in got}
        assert whole == len(data) * transport.size
        assert _spread(transport, str(turn).encode()) == str(turn).encode()
    assert transport.close()


def clocks_are_compared(make: Make) -> None:
    transport = make(KIB)
    wrong = 10**9 * (transport.rank - transport.lead)  # seconds that this rank's clock is ahead of the lead's
    for ranks in ([], [transport.lead], [transport.size - 1], range(transport.size)):
        found = transport.measure_clock(ranks, lambda: time.monotonic_ns() + wrong)
        if transport.rank in ranks and transport.rank != transport.lead:
            assert found is not None
            assert abs(found.offset_ns + wrong) <= found.uncertainty_ns
        else:
            assert found is None
    assert _spread(transport, b"done") == b"done"  # nothing of it is left in the way of what follows
    assert transport.close()


def what_all_say_is_so(make: Make) -> None:
    transport = make(KIB)
    assert transport.agree(True) is True
    assert transport.agree(False) is False
    assert transport.close()


def a_closed_transport_says_so(make: Make) -> None:
    transport = make(KIB)
    _meet(transport)
    assert transport.close()
    assert not transport.close()
    assert type(transport.failure) is TransportError
    calls: list[Callable[[], object]] = [
        lambda: _meet(transport),
        lambda: _spread(transport, b""),
        lambda: transport.broadcast(b"", 0),
        lambda: transport.allgather(b""),
    ]
    for call in calls:
        _raises(TransportError, call)
    transport.leave("too late to matter")
    assert transport.notices() == []


def a_leaver_enters_nothing_more(make: Make) -> None:
    transport = make(KIB)
    _meet(transport)
    transport.leave("ValueError: all leave at once")
    transport.leave("once is enough")
    told = {notice.rank: notice.reason for notice in transport.notices()}
    assert told[transport.rank] == "ValueError: all leave at once"
    _raises(TransportError, lambda: _meet(transport))
    assert not transport.close()


def caps_out_of_range_are_refused(make: Make) -> None:
    for cap in (-1, 0, 7, (1 << 30) + 1):
        _raises(UsageError, lambda: make(cap))  # noqa: B023 - called at once


CHECKS: dict[str, Callable[[Make], None]] = {
    check.__name__: check
    for check in (
        the_ranks_are_told,
        all_ranks_agree,
        what_writer_ranks_say_reaches_the_lead,
        requests_and_answers_of_any_length_arrive,
        uneven_bytes_arrive_whole,
        words_are_not_torn,
        a_typed_chunk_counts_its_bytes,
        a_failing_sink_keeps_nobody_waiting,
        small_bytes_travel_all_ways,
        deadlines_do_not_end_what_goes_well,
        many_flush_points_stay_in_order,
        clocks_are_compared,
        what_all_say_is_so,
        a_closed_transport_says_so,
        a_leaver_enters_nothing_more,
        caps_out_of_range_are_refused,
    )
}
