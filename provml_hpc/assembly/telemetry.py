"""What was sampled beside the training: devices, which ranks used them, and the places that counters are of."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any, NamedTuple

from provml_hpc import identity, records
from provml_hpc.assembly.activities import rank_uuid
from provml_hpc.assembly.builder import Builder
from provml_hpc.assembly.frames import Stream
from provml_hpc.assembly.graph import RunInfo


class Place(NamedTuple):
    """What counters are of: the uuid of its node, and what a person calls it."""

    uuid: str
    label: str


class Telemetry:
    """Adds devices and who used them to a builder that has ranks and nodes already, and tells of places.

    A rank is put at the devices that its process was seen on. Where it was seen on none, which is so in a container
    with process ids of its own, it is put at those that a variable gave it.
    """

    def __init__(self, run: RunInfo, builder: Builder, streams: list[Stream]) -> None:
        self._run, self._build = run, builder
        self._devices: dict[tuple[records.Source, int], Place] = {}
        self._hosts: dict[records.Source, str] = {}
        self._placed: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for stream in streams:
            self._read(stream)
        self._put()

    def _read(self, stream: Stream) -> None:
        source = stream.source
        self._hosts[source] = stream.start.host
        for sequence, _, record in stream.records:
            match record:
                case records.Device():
                    self._device(source, sequence, record)
                case records.Placed():
                    device = self._devices.get((source, record.device))
                    rank = rank_uuid(self._run, source.attempt, record.rank)
                    if device is not None and self._build.class_of(rank) == "Rank":
                        self._placed[rank][device.uuid].add(record.by)
                case records.Fact() if record.device:
                    device = self._devices.get((source, record.device))
                    if device is not None:
                        self._fact(source, device.uuid, record)
                case _:
                    pass

    def _node(self, host: str) -> str:
        return self._build.node("ComputeNode", identity.named(self._run.authority, "ComputeNode", host), label=host)

    def _device(self, source: records.Source, sequence: int, record: records.Device) -> None:
        uuid = identity.named(self._run.authority, "Device", record.identifier or record.label)
        self._build.node("Device", uuid, label=record.label, identifier=record.identifier, model=record.model)
        self._devices[source, sequence] = Place(uuid, record.label)
        whole = self._devices.get((source, record.parent))
        host = self._hosts[source]
        if whole is not None:
            self._build.relate("isPartOf", uuid, whole.uuid)
        elif host:
            self._build.relate("isPartOf", uuid, self._node(host))

    def _fact(self, source: records.Source, about: str, record: records.Fact) -> None:
        place = "value", about, "AttributeValue", record.name, record.type, record.text
        uuid = identity.local(self._run.uuid, *place)
        self._build.node(
            "AttributeValue",
            uuid,
            source.rank,
            label=record.name,
            value=record.text,
            value_type=record.type,
            attempt=source.attempt,
        )
        self._build.relate("hasAttribute", about, uuid)
        self._build.relate("valueOf", uuid, self.attribute(record.name))

    def attribute(self, name: str) -> str:
        """Return the Attribute of a name."""
        return self._build.node("Attribute", identity.named(self._run.authority, "Attribute", name), label=name)

    def _put(self) -> None:
        for rank, devices in self._placed.items():
            seen = [device for device, by in devices.items() if records.BY_PROCESS in by]
            for device in seen or devices:
                self._build.relate("atLocation", rank, device)

    def place(self, source: records.Source, record: records.Counters) -> Place | None:
        """Return what counters are of; None where that is lost."""
        if record.device:
            return self._devices.get((source, record.device))
        host = self._hosts.get(source, "")
        if record.rank < 0:
            return Place(self._node(host), host) if host else None
        rank = rank_uuid(self._run, source.attempt, record.rank)
        if self._build.class_of(rank) == "Rank":
            return Place(rank, f"rank {record.rank}")
        return Place(self._node(host), f"rank {record.rank}") if host else None  # nothing came from the rank itself


def counters(record: records.Counters) -> dict[str, str]:
    """Return the counters of a record with their units, in order; none if it is damaged."""
    try:
        names, units = json.loads(record.names), json.loads(record.units)
    except (ValueError, RecursionError):
        return {}
    both: list[Any] = [names, units]
    if not all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in both):
        return {}
    if len(names) != len(units) or len(set(names)) != len(names):
        return {}
    return dict(zip(names, units, strict=True))
