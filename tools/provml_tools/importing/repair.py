"""Reading PROV-JSON that is not quite PROV-JSON.

What trackers write is repaired on the way, and each kind of repair is told: prefixes that are no IRIs (``prov-ml``,
``DLProv``, ``context``) or that are used and never declared, the wrong namespace of XML Schema, attributes that end in
a colon (``dlprov:loss:``), values that are Python text of what was meant, times without a zone.
"""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import quote

from provml_hpc.errors import FileMissingError, FormatError
from provml_hpc.vocabulary import NAMESPACES

ELEMENTS = ("entity", "activity", "agent")
ENDS = {
    "used": ("activity", "entity"),
    "wasGeneratedBy": ("entity", "activity"),
    "wasInvalidatedBy": ("entity", "activity"),
    "wasStartedBy": ("activity", "trigger"),
    "wasEndedBy": ("activity", "trigger"),
    "wasInformedBy": ("informed", "informant"),
    "wasDerivedFrom": ("generatedEntity", "usedEntity"),
    "wasAttributedTo": ("entity", "agent"),
    "wasAssociatedWith": ("activity", "agent"),
    "actedOnBehalfOf": ("delegate", "responsible"),
    "wasInfluencedBy": ("influencee", "influencer"),
    "specializationOf": ("specificEntity", "generalEntity"),
    "alternateOf": ("alternate1", "alternate2"),
    "hadMember": ("collection", "entity"),
}
"""The two ends of each relation in PROV-JSON."""

MADE_UP = "https://w3id.org/provml-hpc/imported/"
"""What a prefix without an IRI is put behind."""

_ABSOLUTE = re.compile('[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20<>"{}|^`\\\\]+')
_XSD = re.compile("https?://www\\.w3\\.org/[0-9]+/XMLSchema#?")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LARGEST = 1 << 28


@dataclass(frozen=True)
class Name:
    """A qualified name: its namespace and what stands behind the prefix, as they were written."""

    space: str
    local: str

    @property
    def iri(self) -> str:
        """The IRI, with what no IRI can hold percent-encoded."""
        return self.space + quote(self.local, safe="/~!$&'()*+,;=:@-._")


@dataclass
class Record:
    """An element, or a relation with its ends."""

    kind: str
    name: Name | None
    attributes: dict[str, list[Any]] = field(default_factory=dict)
    """By their prefixed names. A value is a text, number or truth value, or a Name."""
    ends: tuple[Name, ...] = ()

    def get(self, *names: str) -> Any:
        """Return the first value of the first of some attributes that is there, whatever its prefix; or None."""
        for name in names:
            for known, values in self.attributes.items():
                if known.rpartition(":")[2] == name and values:
                    return values[0]
        return None


@dataclass
class Document:
    """What a file says, after repair."""

    path: Path
    prefixes: dict[str, str]
    records: list[Record]
    repairs: dict[str, int]
    """What was repaired, and how often."""
    zone: tzinfo | None = None
    """The zone of times that have none; None for that of this machine."""

    def of(self, *kinds: str) -> Iterator[Record]:
        """Yield the records of some kinds."""
        return (record for record in self.records if record.kind in kinds)

    def expand(self, name: str) -> str:
        """Return the IRI of a prefixed name of an attribute."""
        prefix, colon, local = name.partition(":")
        if not colon:
            prefix, local = "default", name
        return Name(self.prefixes.get(prefix, MADE_UP + quote(prefix, safe="") + "#"), local).iri

    def nanoseconds(self, value: Any) -> int | None:
        """Return a time as int64 nanoseconds since the epoch, or None if it is none."""
        if isinstance(value, bool) or value is None:
            return None
        if isinstance(value, int | float):
            # Trackers count in seconds or in milliseconds; nobody trained before 1973.
            scale = 10**9 if value < 10**11 else 10**6 if value < 10**14 else 10**3 if value < 10**17 else 1
            whole = int(value * scale) if abs(value) < 2**62 else 0
            return whole if 0 < whole < 2**63 else None
        text = str(value).strip()
        if re.fullmatch(r"[0-9]{9,19}(\.[0-9]+)?", text):
            return self.nanoseconds(float(text) if "." in text else int(text))
        # Python 3.10 reads fractions of three or six digits only, and no Python reads nine.
        parts = re.fullmatch(r"(.*:\d\d)[.,](\d+)(.*)", text)
        stem, fraction = (parts[1] + parts[3], parts[2]) if parts else (text, "")
        try:
            moment = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", stem))
            if moment.tzinfo is None:
                self.repairs["times without a zone"] = self.repairs.get("times without a zone", 0) + 1
                moment = moment.replace(tzinfo=self.zone) if self.zone is not None else moment.astimezone()
            found = (moment - _EPOCH) // timedelta(seconds=1) * 10**9 + int(fraction[:9].ljust(9, "0"))
        except (ValueError, OverflowError, OSError):
            return None
        return found if -(2**63) < found < 2**63 else None


def read(path: str | Path, zone: tzinfo | None = None) -> Document:
    """Read a file and repair it.

    Raises
    ------
    FileMissingError, FormatError
        There is no such file, or it is no PROV-JSON at all.
    """
    place = Path(path)
    try:
        if place.stat().st_size > _LARGEST:
            raise FormatError(f"{path} is larger than 256 MiB. Give the PROV-JSON file, not its data.")
        said = json.loads(place.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise FileMissingError(f"There is no file {path}. Check the name.") from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no JSON ({' '.join(str(error).split())[:100]}). Give a PROV-JSON file.") from None
    if not isinstance(said, dict) or not any(kind in said for kind in (*ELEMENTS, *ENDS)):
        raise FormatError(f"{path} is JSON, but says nothing in PROV-JSON. Give a file with entities and activities.")
    return _Reader(place, said, zone).document()


class _Reader:
    def __init__(self, path: Path, said: dict[str, Any], zone: tzinfo | None) -> None:
        self._said = said
        self._repairs: dict[str, int] = defaultdict(int)
        self._path, self._zone = path, zone
        self._prefixes: dict[str, str] = {}
        for prefix, iri in _mapping(said.get("prefix") or said.get("prefixes")).items():
            self._prefixes[prefix] = self._namespace(prefix, str(iri))
        self._declared = frozenset(self._prefixes)
        if "prefixes" in said:
            self._repairs["the member prefixes, which is called prefix"] += 1

    def _namespace(self, prefix: str, iri: str) -> str:
        known = NAMESPACES.get(prefix, "") if prefix in ("prov", "xsd", "rdf", "rdfs", "dcterms") else ""
        if prefix.startswith("xsd") and _XSD.fullmatch(iri):
            known = NAMESPACES["xsd"]
        if known:
            if iri != known and iri + "#" != known:
                self._repairs[f"the namespace of {prefix}"] += 1
            return known
        if _ABSOLUTE.fullmatch(iri):
            return iri
        self._repairs[f"the prefix {prefix}, which stands for {iri!r} and not for an IRI"] += 1
        return f"{MADE_UP}{quote(iri or prefix, safe='')}#"

    def _name(self, text: str) -> Name:
        prefix, colon, local = text.partition(":")
        # A name such as source//context:3 or C:/data has no prefix, whatever stands before the colon.
        if (
            not colon
            or ("/" in prefix)
            or (prefix not in self._declared and not re.fullmatch("[A-Za-z_][\\w.-]*", prefix))
        ):
            prefix, local = "default", text
        return Name(self._space(prefix), local)

    def _space(self, prefix: str) -> str:
        if prefix not in self._prefixes:
            if prefix in NAMESPACES:
                self._prefixes[prefix] = NAMESPACES[prefix]
            else:
                if prefix != "default":
                    self._repairs[f"the prefix {prefix}, which is not declared"] += 1
                made = "" if prefix == "default" else quote(prefix, safe="")
                self._prefixes[prefix] = f"{MADE_UP}{made or quote(self._path.stem, safe='')}#"
        return self._prefixes[prefix]

    def document(self) -> Document:
        records: list[Record] = []
        parts = [self._said, *(_mapping(one) for one in _mapping(self._said.get("bundle")).values())]
        for part in parts:
            for kind in (*ELEMENTS, *ENDS):
                records += self._records(kind, part.get(kind))
        return Document(self._path, self._prefixes, records, self._repairs, self._zone)

    def _records(self, kind: str, said: Any) -> Iterator[Record]:
        if isinstance(said, list):
            self._repairs[f"{kind}s in a list, without names"] += 1
            said = {f"{kind}-{at}": one for at, one in enumerate(said)}
        for identifier, one in _mapping(said).items():
            for attributes in one if isinstance(one, list) else [one]:
                if not isinstance(attributes, dict):
                    continue
                name = None if kind in ENDS and identifier.startswith("_:") else self._name(identifier)
                record = Record(kind, name)
                ends = dict.fromkeys(ENDS.get(kind, ()), "")
                for key, value in attributes.items():
                    plain = key.removeprefix("prov:")
                    if plain in ends and isinstance(value, str):
                        ends[plain] = value
                    elif not (kind in ENDS and value is None):
                        record.attributes[self._attribute(key)] = [self._value(v) for v in _list(value)]
                if kind in ENDS:
                    if not all(ends.values()):
                        continue
                    record.ends = tuple(self._name(end) for end in ends.values())
                yield record

    def _attribute(self, key: str) -> str:
        if key.endswith(":") and key.count(":") > 1:
            self._repairs["attributes that end in a colon"] += 1
            key = key[:-1]
        prefix, colon, _ = key.partition(":")
        self._space(prefix if colon else "default")
        return key

    def _value(self, value: Any) -> Any:
        if isinstance(value, str) and value.startswith("{'$'"):
            # Text that a dict was turned into.
            try:
                value = ast.literal_eval(value)
                self._repairs["values that are Python text"] += 1
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                return value
        if not isinstance(value, dict):
            return value if isinstance(value, str | int | float | bool) else json.dumps(value)
        inner: Any = value.get("$")
        kind = str(value.get("type", "")).rpartition(":")[2]
        if kind in ("QName", "QUALIFIED_NAME"):
            return self._name(str(inner))
        try:
            if kind in ("int", "integer", "long", "short", "nonNegativeInteger", "unsignedInt"):
                return int(inner)
            if kind in ("double", "float", "decimal"):
                return float(inner)
        except (TypeError, ValueError):
            return str(inner)
        if kind == "boolean":
            return str(inner).lower() in ("true", "1")
        return inner if isinstance(inner, str | int | float | bool) else json.dumps(inner)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
