"""NetCDF, classic and on HDF5: dimensions, variables with units, and the grid that their coordinates span."""

from __future__ import annotations

from typing import Any

from provml_hpc.readers.hdf5 import _SIGNATURE, MOST, text

_CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
_GLOBAL = ("title", "institution", "source", "Conventions")
_TOLD = ("standard_name", "long_name", "units", "calendar")
LONGEST = 10_000_000
"""The longest coordinate whose least and greatest value are looked for; of a longer one the first and last are told."""


def describe(path: str) -> dict[str, Any] | None:
    """Return what a NetCDF file holds; None if it is none.

    HDF5 that netCDF did not write is left to the reader of HDF5: netCDF's own files say so in ``_NCProperties``, and
    those of older releases have dimension scales.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - beside the path, in text
            start = file.read(8)
    except IsADirectoryError:
        return None
    if start[:4] not in _CLASSIC and (start != _SIGNATURE or not _has_scales(path)):
        return None
    import netCDF4

    with netCDF4.Dataset(path, "r") as data:
        data.set_auto_mask(False)
        facts: dict[str, Any] = {"format": data.data_model}
        facts |= {name: text(data.getncattr(name)) for name in _GLOBAL if name in data.ncattrs()}
        facts["dimensions"] = {name: len(one) for name, one in list(data.dimensions.items())[:MOST]}
        variables: dict[str, Any] = {}
        grid: dict[str, Any] = {}
        for name, one in list(data.variables.items())[:MOST]:
            told = {key: text(one.getncattr(key)) for key in _TOLD if key in one.ncattrs()}
            if one.dimensions == (name,) and one.size and one.dtype != str and one.dtype.kind in "iuf":
                grid[name] = _axis(one) | told
            else:
                variables[name] = {"dimensions": list(one.dimensions), "type": str(one.dtype), **told}
        return {**facts, "grid": grid, "variables": variables, "groups": len(data.groups)}


def _axis(variable: Any) -> dict[str, Any]:
    points = int(variable.size)
    first, last = variable[0].item(), variable[points - 1].item()
    told: dict[str, Any] = {"points": points, "first": first, "last": last}
    if 2 < points <= LONGEST:
        values = variable[:]
        told |= {"least": values.min().item(), "greatest": values.max().item()}
        if (told["least"], told["greatest"]) in ((first, last), (last, first)):
            del told["least"], told["greatest"]
    return told


def _has_scales(path: str) -> bool:
    import h5py

    with h5py.File(path, "r", locking="best-effort") as file:
        if "_NCProperties" in file.attrs:
            return True
        return any(isinstance(file[name], h5py.Dataset) and file[name].is_scale for name in file)
