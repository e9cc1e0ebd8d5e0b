"""HDF5: the datasets of a file, with shape, type and units."""

from __future__ import annotations

from typing import Any

MOST = 50
"""So many datasets are told of; the rest are counted."""

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_TOLD = ("units", "long_name", "description", "title")


def describe(path: str) -> dict[str, Any] | None:
    """Return the datasets of an HDF5 file; None if it is none."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - beside the path, in text
            if file.read(8) != _SIGNATURE:
                return None
    except IsADirectoryError:
        return None
    import h5py

    datasets: list[str] = []

    def visit(name: str, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset):
            datasets.append(name)

    with h5py.File(path, "r", locking="best-effort") as file:
        file.visititems(visit)
        facts: dict[str, Any] = {"format": "HDF5", "datasets": len(datasets)}
        facts |= {name: text(file.attrs[name]) for name in _TOLD if name in file.attrs}
        variables: dict[str, Any] = {}
        for name in datasets[:MOST]:
            one = file[name]
            told: dict[str, Any] = {"shape": list(one.shape or ()), "type": str(one.dtype)}
            told |= {key: text(one.attrs[key]) for key in _TOLD if key in one.attrs}
            variables[name] = told
    return {**facts, "variables": variables}


def text(value: Any) -> Any:
    """Return an attribute as a plain value: bytes as text, arrays of one as what they hold."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value[0] if isinstance(value, list) and len(value) == 1 else value
