"""The uuids of nodes: those of a whole graph in little room, and those that only RDF has, made fast."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from provml_hpc.errors import FormatError
from provml_tools.rdf.terms import check_uuid

_LENGTH = 36
_DASHES = (8, 13, 18, 23)
_IS_HEX = np.zeros(256, bool)
_IS_HEX[list(b"0123456789abcdef")] = True


class Uuids(Sequence[str]):
    """The uuid of each node by its id, 36 bytes a node: a list of texts takes three times that.

    Raises
    ------
    FormatError
        What is put in is no uuid: a damaged file could hold anything there, and it becomes part of an IRI.
    """

    def __init__(self, count: int) -> None:
        self._bytes = np.zeros((count, _LENGTH), np.uint8)
        self._text = ""

    def put(self, ids: np.ndarray[Any, np.dtype[np.int64]], texts: Sequence[str]) -> None:
        """Take in the uuids of some nodes."""
        joined = "".join(texts).encode("utf-8", "replace")
        whole = len(joined) == _LENGTH * len(texts)
        if whole:
            rows = np.frombuffer(joined, np.uint8).reshape(-1, _LENGTH)
            is_dash = np.zeros(_LENGTH, bool)
            is_dash[list(_DASHES)] = True
            whole = bool((rows[:, is_dash] == ord("-")).all() and _IS_HEX[rows[:, ~is_dash]].all())
        if not whole or any(len(text) != _LENGTH for text in texts):
            for text in texts:
                check_uuid(text)
        self._bytes[ids] = rows

    def seal(self) -> None:
        """Make them readable.

        Raises
        ------
        FormatError
            A node has none.
        """
        if len(self._bytes) and not self._bytes[:, 0].all():
            raise FormatError("Two nodes have the same id. Try `provml recover` on the file.")
        self._text = self._bytes.tobytes().decode("ascii")
        self._bytes = self._bytes[:0]

    def __len__(self) -> int:
        return len(self._text) // _LENGTH

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            text = self._text
            start, stop, step = at.indices(len(self))
            return [text[i : i + _LENGTH] for i in range(start * _LENGTH, stop * _LENGTH, step * _LENGTH)]
        return self._text[at * _LENGTH : (at + 1) * _LENGTH]

    def of(self, ids: np.ndarray[Any, np.dtype[np.int64]]) -> list[str]:
        """Return those of many nodes."""
        text = self._text
        return [text[at : at + _LENGTH] for at in (ids * _LENGTH).tolist()]


def seed(uuid: str) -> bytes:
    """Return the 16 bytes of a uuid, as the namespace of others."""
    return bytes.fromhex(uuid.replace("-", ""))


def below(namespace: bytes, name: str) -> str:
    """Return the uuid5 of a name in a namespace (RFC 9562, 5.5) as text, without the objects of `uuid.uuid5`."""
    digest = hashlib.sha1(namespace + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def place(*parts: str | int) -> str:
    """Return the name that `identity.local` gives to a place of uuids, plain words and integers: nothing to escape."""
    # That is JSON, as `repr` would have it but for the quotes.
    return repr([*parts]).replace("'", '"')
