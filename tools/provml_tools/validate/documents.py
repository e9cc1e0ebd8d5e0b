"""PROV documents of others, as instances: PROV-JSON, PROV-N and PROV-XML, read by the `prov` package.

The package is an extra (``provml-hpc[export]``): what reads the files of this library does not need it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from provml_hpc.errors import FileMissingError, FormatError, UsageError
from provml_tools.validate.instance import ARGUMENTS, THINGS, Instance, Term

FORMATS = {
    ".json": "json",
    ".provjson": "json",
    ".provn": "provn",
    ".pn": "provn",
    ".asn": "provn",
    ".xml": "xml",
    ".provx": "xml",
}
"""Which suffix stands for which format of the `prov` package."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def is_document(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is a PROV document, by its suffix."""
    return Path(path).suffix.lower() in FORMATS


def read(path: str | os.PathLike[str]) -> Any:
    """Return the ``prov.model.ProvDocument`` in a file.

    Raises
    ------
    UsageError
        The `prov` package is not installed.
    FileMissingError, FormatError
        There is no such file, or no such document in it.
    """
    try:
        from prov.model import ProvDocument
    except ImportError:
        raise UsageError(
            f"{path} is a PROV document, which the package prov reads. Install it: pip install 'provml-hpc[export]'"
        ) from None
    form = FORMATS[Path(path).suffix.lower()]
    try:
        with warnings.catch_warnings():
            # What the package would rather see is no matter of validity.
            warnings.simplefilter("ignore")
            return ProvDocument.deserialize(str(path), format=form)
    except FileNotFoundError:
        raise FileMissingError(f"There is no file {path}. Check the name.") from None
    except ImportError as error:
        raise UsageError(f"{path} cannot be read: {error}. Install it: pip install 'provml-hpc[export]'") from None
    except OSError:
        raise
    except Exception as error:
        # The package's readers raise whatever they stumble over.
        reason = f"{type(error).__name__}: {error}"
        raise FormatError(f"{path} is no {form} document that can be read ({reason}). Check what wrote it.") from None


def instances_of(document: Any) -> Iterator[Instance]:
    """Yield the instance of a document, then that of each bundle in it: each is valid or not by itself."""
    yield _instance(document)
    for bundle in document.bundles:
        yield _instance(bundle)


def _instance(bundle: Any) -> Instance:
    from prov.constants import PROV_N_MAP

    names: dict[str, str] = {}
    instance = Instance(describe=lambda uri: names.get(uri, uri))

    def term(value: Any) -> Term | None:
        if value is None:
            return None
        if isinstance(value, datetime):
            # A time that does not say its zone can be equal to another, but not before it.
            return _nanoseconds(value) if value.tzinfo else f"{value.isoformat()} (no time zone)"
        uri = getattr(value, "uri", None)
        if uri is None:
            return str(value)
        names[str(uri)] = str(value)
        return str(uri)

    for record in bundle.get_records():
        kind = PROV_N_MAP[record.get_type()]
        if kind not in ARGUMENTS:
            continue
        identifier = term(record.identifier)
        arguments = [term(value) for _, value in record.formal_attributes]
        if kind in THINGS:
            arguments.insert(0, identifier)
            for type_ in record.get_asserted_types():
                instance.types.setdefault(str(identifier), set()).add(str(type_).rpartition(":")[2])
        instance.say(kind, identifier, *arguments)
    return instance


def _nanoseconds(time: datetime) -> int:
    since = time - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 10**6 + since.microseconds) * 1000
