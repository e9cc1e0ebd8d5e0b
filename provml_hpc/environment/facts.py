"""What a fact is: a name, a plain value, and at most one remark on it."""

from __future__ import annotations

from typing import NamedTuple


class Fact(NamedTuple):
    """One thing found out about a run, a node or a rank.

    Attributes
    ----------
    name
        Dotted text of the stable vocabulary, for example ``"code.commit"``. A name that ends with ``.reason`` says why
        something of that group could not be found.
    value
        A plain value. Bytes and counts are integers; sizes are in bytes.
    comment
        What a reader must know to take the value rightly, for example why a state is unknown. Empty if nothing.
    """

    name: str
    value: str | int | float | bool
    comment: str = ""
