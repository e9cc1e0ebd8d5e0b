"""SEG-Y: samples, interval, traces, and the inlines and crosslines of a seismic volume."""

from __future__ import annotations

from typing import Any

SUFFIXES = (".sgy", ".segy")
ALL = 20_000
"""Up to so many traces, the header of each is read; of more, so many evenly spaced ones and both ends."""
_ENDS = 500
_INTERVAL, _SAMPLES, _FORMAT, _REVISION, _SYSTEM = 3217, 3221, 3225, 3501, 3255
_INLINE, _CROSSLINE, _X, _Y, _SCALAR, _TRACE_INTERVAL = 189, 193, 181, 185, 71, 117
_FORMATS = {1: "IBM float", 2: "int32", 3: "int16", 5: "IEEE float32", 6: "IEEE float64", 8: "int8"}


def describe(path: str) -> dict[str, Any] | None:
    """Return what a SEG-Y file holds; None if its name does not say that it is one, since the format has no mark."""
    if not path.lower().endswith(SUFFIXES):
        return None
    import segyio

    with open(path, "rb") as raw:  # noqa: PTH123 - beside the path, in text
        raw.seek(_FORMAT - 1)
        code = raw.read(2)
    # The codes of sample formats are small numbers, whose first byte is 0 where the larger end comes first.
    endian = "little" if code[1:] == b"\0" != code[:1] else "big"
    # The text header is left out: what people say there is in no set form.
    with segyio.open(path, "r", ignore_geometry=True, strict=False, endian=endian) as file:
        return _told(file, endian)


def _told(file: Any, endian: str) -> dict[str, Any]:
    count = int(file.tracecount)
    interval = file.bin[_INTERVAL] or file.header[0][_TRACE_INTERVAL]
    facts: dict[str, Any] = {
        "format": "SEG-Y",
        "traces": count,
        "samples": len(file.samples),
        "interval_us": int(interval),
        "sample_type": _FORMATS.get(file.bin[_FORMAT], f"code {file.bin[_FORMAT]}"),
        "endian": endian,
        "length_unit": {1: "metre", 2: "foot"}.get(file.bin[_SYSTEM], "not said"),
    }
    whole = count <= ALL
    if not whole:
        facts["headers_read"] = "some"
    for name, field in (("inline", _INLINE), ("crossline", _CROSSLINE)):
        values = _values(file, field, count, whole)
        if values.any():
            facts[name] = {"first": int(values.min()), "last": int(values.max())}
            if whole:
                facts[name]["lines"] = len(set(values.tolist()))
    scalar = int(file.header[0][_SCALAR])
    factor = scalar if scalar > 0 else 1 / -scalar if scalar else 1
    for name, field in (("x", _X), ("y", _Y)):
        values = _values(file, field, count, whole)
        if values.any():
            facts[name] = {"least": float(values.min() * factor), "greatest": float(values.max() * factor)}
    return facts


def _values(file: Any, field: int, count: int, whole: bool) -> Any:
    import numpy as np

    headers = file.attributes(field)
    if whole:
        return np.asarray(headers[:])
    step = -(-count // ALL)
    return np.concatenate([headers[:_ENDS], headers[::step], headers[count - _ENDS :]])
