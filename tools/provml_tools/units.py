"""Durations and sizes as a person says them."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """Return a duration as a person says it.

    Examples
    --------
    >>> [duration(x) for x in (0.0042, 3.14159, 200, 7384, 200000)]
    ['4.2 ms', '3.14 s', '3 min 20 s', '2 h 3 min', '2 d 7 h']
    """
    if seconds is None:
        return ""
    if seconds < 0.1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for name, size, below, smaller in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // smaller} {below}"
    return f"{whole} s"


def size(count: int | None) -> str:
    """Return a number of bytes as a person says it.

    Examples
    --------
    >>> [size(x) for x in (0, 1023, 1536, 5 * 2**30)]
    ['0 B', '1023 B', '1.5 KiB', '5 GiB']
    """
    if count is None:
        return ""
    if count < 1024:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, 4)
    return f"{count / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
