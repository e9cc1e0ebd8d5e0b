"""The digest of an array in memory."""

from __future__ import annotations

import sys
from typing import Any

from provml_hpc.content.digests import Digest
from provml_hpc.errors import UsageError

_SLAB = 2**24
# Kinds of the buffer protocol's formats, in numpy's letters, so that `array.array` and numpy agree on equal data.
_KINDS = (
    dict.fromkeys("bhilqn", "i") | dict.fromkeys("BHILQNP", "u") | dict.fromkeys("efdg", "f") | {"?": "b", "c": "S"}
)


def digest_array(array: Any) -> Digest:
    r"""Digest an array by its element type, its shape and its bytes in C order, whatever its layout in memory.

    Algorithm ``"sha256-array"``: the SHA-256 over the text ``sha256-array\n``, the element type as numpy writes it
    (``<f8``; of a structured type its ``descr``) and a line feed, the shape (``3,4``) and a line feed, then the bytes.
    It says nothing of a file that the array came from or goes to.

    Parameters
    ----------
    array
        A numpy array or anything else with the buffer protocol; or what numpy, if the program uses it, makes an array
        of (a tensor of PyTorch on the CPU).

    Raises
    ------
    UsageError
        It has no bytes of its own: not an array, an array of objects, or one with a mask.

    Examples
    --------
    >>> digest_array(memoryview(b"abc")).size
    3
    """
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        masked: Any = sys.modules.get("numpy.ma")
        if masked is not None and isinstance(array, masked.MaskedArray):
            raise UsageError("a masked array is two arrays; digest its data and its mask, or a filled copy")
        if not isinstance(array, numpy.ndarray | numpy.generic) and not _has_buffer(array):
            array = _as_numpy(numpy, array)
        if isinstance(array, numpy.ndarray | numpy.generic):
            return _digest_numpy(numpy.asarray(array))
    try:
        view = memoryview(array)
    except (TypeError, ValueError, BufferError):
        raise UsageError(f"a {type(array).__name__} has no bytes to digest; give an array, or a digest") from None
    hasher = _begin(_element(view), view.shape or ())
    # Only a view without gaps and zeros can be looked at as bytes without a copy.
    if view.nbytes:
        hasher.update(view.cast("B") if view.c_contiguous else view.tobytes("C"))
    return Digest("sha256-array", hasher.hexdigest(), view.nbytes)


def _digest_numpy(array: Any) -> Digest:
    if array.dtype.hasobject:
        raise UsageError(
            "an array of Python objects has no bytes of its own; convert it to numbers or fixed-length text"
        )
    kind = array.dtype.str if array.dtype.names is None else repr(array.dtype.descr)
    hasher = _begin(kind, array.shape)
    if not array.ndim:
        hasher.update(array.tobytes())
    elif array.size:
        # Slab by slab: `tobytes` puts any layout in order and takes types without a buffer (times), but copies.
        rows = max(1, _SLAB // (array.nbytes // array.shape[0] or 1))
        for start in range(0, array.shape[0], rows):
            hasher.update(array[start : start + rows].tobytes())
    return Digest("sha256-array", hasher.hexdigest(), array.nbytes)


def _as_numpy(numpy: Any, array: Any) -> Any:
    if not hasattr(array, "__array__"):
        return array
    try:
        return numpy.asarray(array)
    except Exception as error:  # whatever a foreign array type raises, for example for one on a GPU
        raise UsageError(
            f"a {type(array).__name__} cannot be read as an array ({error}); give a copy on the host"
        ) from None


def _has_buffer(array: Any) -> bool:
    try:
        memoryview(array).release()
    except (TypeError, ValueError, BufferError):
        return False
    return True


def _begin(kind: str, shape: tuple[int, ...]) -> Any:
    import hashlib

    text = f"sha256-array\n{kind}\n{','.join(map(str, shape))}\n"
    return hashlib.sha256(text.encode(), usedforsecurity=False)


def _element(view: memoryview) -> str:
    """Write a buffer's element type as numpy does, or its format as it stands where it is not a plain number."""
    form = view.format
    order = {"<": "<", ">": ">", "!": ">", "=": "", "@": ""}.get(form[0])
    letter = form if order is None else form[1:]
    if letter not in _KINDS:
        return form
    native = "<" if sys.byteorder == "little" else ">"
    if view.itemsize == 1:
        return f"|{_KINDS[letter]}1"
    return f"{order or native}{_KINDS[letter]}{view.itemsize}"
