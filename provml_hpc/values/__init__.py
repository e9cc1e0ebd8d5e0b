"""Turn a user's parameter value into a type and a text, and back.

=========== ============================================== =======================================================
type        text                                           from
=========== ============================================== =======================================================
``text``    the text, cleaned (`clean_text`)               str, bytes in UTF-8, paths, dates, times of day, uuids,
                                                           fractions, classes and functions (their qualified name)
``integer`` decimal digits                                 int
``real``    shortest digits that give the float64 back,    float, Decimal (its own digits), timedelta (seconds)
            or ``NaN``, ``INF``, ``-INF``
``boolean`` ``true`` or ``false``                          bool
``none``    ``None``                                       None, pandas' NaT
``json``    JSON with sorted keys, no blanks, non-ASCII    lists, tuples, sets (sorted), mappings, dataclasses,
            as it is                                       small arrays, complex numbers, bytes (``{"hex": ...}``)
``time``    ISO 8601                                       datetime, numpy's datetime64
=========== ============================================== =======================================================

Scalars of numpy and tensors of one value count as the Python number they hold; an enum as its value where that is
plain, else as its name. Inside JSON, what is not a finite number is the text ``"NaN"``, ``"INF"`` or ``"-INF"``, since
JSON has no such numbers; times, paths and the like are their texts, and so are numbers of more than 4,200 digits, which
no reader takes. numpy is never imported here.
"""

from __future__ import annotations

from provml_hpc.values.nested import flatten, normalise
from provml_hpc.values.scalars import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_VALUES,
    Pair,
    UnrecordableError,
    ValueType,
    clean_text,
    decode,
)

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_VALUES",
    "Pair",
    "UnrecordableError",
    "ValueType",
    "clean_text",
    "decode",
    "flatten",
    "normalise",
]
