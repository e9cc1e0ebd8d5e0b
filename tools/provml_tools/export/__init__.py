"""Runs in the formats of other tools: PROV documents, RO-Crate and Parquet. See ``docs/export.md``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from provml_hpc.errors import UsageError


@dataclass(frozen=True)
class Format:
    """One format, and what of a run it cannot carry."""

    name: str
    comment: str
    folder: bool
    """Whether the output is a folder, and not a file."""
    left_out: str


_PROV = "samples stay in the HDF5 file; times are cut to microseconds, beside them stand whole nanoseconds"

FORMATS = {
    one.name: one
    for one in (
        Format("prov-json", "PROV-JSON, one file", False, _PROV),
        Format("prov-n", "PROV-N, one file", False, _PROV),
        Format("prov-jsonld", "PROV-JSONLD, one file", False, _PROV),
        Format("prov-xml", "PROV-XML, one file", False, _PROV),
        Format(
            "crate",
            "a folder: a Process Run Crate 0.5 (RO-Crate 1.1)",
            True,
            "data and models are described but not copied, of sections only what they used and made is there, and "
            "samples are in the HDF5 file that lies in the crate",
        ),
        Format("parquet", "a folder: a Parquet file for each table", True, ""),
    )
}
"""The formats by name."""


def need(package: str, load: Callable[[], object]) -> None:
    """Make sure that an optional package is there.

    Raises
    ------
    UsageError
        It is not.
    """
    try:
        load()
    except ImportError:
        raise UsageError(
            f"This needs the package {package}. Install it with: pip install 'provml-hpc[export]'"
        ) from None
