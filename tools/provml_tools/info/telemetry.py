"""What was sampled beside a training, as ``provml info`` tells of it: a line a device, node and process."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from provml_hpc.assembly.graph import Graph
from provml_hpc.storage import views
from provml_tools.query.tables import number

_KINDS = {"Device": "device", "ComputeNode": "node", "Rank": "process"}


def collect(graph: Graph) -> list[dict[str, Any]]:
    """Return for each place its counters with their least, most and last values, and what was found out about it."""
    places = {row["id"]: row for row in views.rows(graph, _KINDS)}
    of: dict[int, int] = {}
    ranks: dict[int, list[int]] = defaultdict(list)
    series = {row["id"]: row for row in views.rows(graph, ["TelemetrySeries"])}
    for name in ("atLocation", "wasAttributedTo"):
        for link in views.links(graph, name):
            if link["subject"] in series:
                of[link["subject"]] = link["object"]
            elif places.get(link["subject"], {}).get("kind") == "Rank":
                ranks[link["object"]].append(places[link["subject"]]["rank"])
    facts: dict[int, dict[str, str]] = defaultdict(dict)
    values = {row["id"]: row for row in views.rows(graph, ["AttributeValue"])}
    for link in views.links(graph, "hasAttribute"):
        if link["subject"] in places and link["object"] in values:
            facts[link["subject"]][values[link["object"]]["label"]] = values[link["object"]]["value"]
    counters: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for identity, row in series.items():
        if identity in of:
            told = {name: row[name] for name in ("count", "minimum", "maximum", "last", "unit")}
            counters[of[identity]].append({"name": row["label"], **told})
    found = []
    for identity, place in places.items():
        if counters[identity] or place["kind"] == "Device":
            found.append(
                {
                    "place": place["label"],
                    "kind": _KINDS[place["kind"]],
                    "model": place.get("model") or None,
                    "identifier": place.get("identifier") or None,
                    "ranks": sorted(set(ranks[identity])),
                    "counters": counters[identity],
                    "facts": facts[identity] if place["kind"] == "Device" else {},
                }
            )
    order = list(_KINDS.values())
    return sorted(found, key=lambda one: (order.index(one["kind"]), one["place"]))


COLUMNS = ["place", "what", "samples", "busy %", "power W", "energy Wh", "memory GiB", "remarks"]


def rows(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a line for each device and node; processes are left to the JSON."""
    return [_line(one) for one in found if one["kind"] != "process"]


def _line(one: dict[str, Any]) -> dict[str, Any]:
    by_name = {counter["name"]: counter for counter in one["counters"]}

    def most(name: str, scale: float = 1.0) -> float | None:
        value = by_name.get(name, {}).get("maximum")
        return None if value is None or value != value else value / scale

    busy = by_name.get("utilisation_percent") or by_name.get("cpu_percent")
    power, energy = by_name.get("power_W"), by_name.get("energy_J")
    remarks = [f"rank {rank}" for rank in one["ranks"][:4]] if one["kind"] == "device" else []
    facts = one["facts"]
    if "lost" in facts:
        remarks.append(f"lost: {facts['lost']}")
    if "counters.missing" in facts:
        remarks.append(f"without {facts['counters.missing']}")
    return {
        "place": one["place"],
        "what": one["model"] or one["kind"],
        "samples": max((counter["count"] or 0 for counter in one["counters"]), default=0),
        "busy %": _range(busy),
        "power W": _range(power),
        # A counter only grows; where it was set to zero in between, `costs` knows better.
        "energy Wh": None if energy is None else (energy["maximum"] - energy["minimum"]) / 3600,
        "memory GiB": most("memory_used_B", 1 << 30),
        "remarks": ", ".join(remarks),
    }


def _range(counter: dict[str, Any] | None) -> str:
    if counter is None or counter["minimum"] != counter["minimum"]:
        return ""
    least, largest = number(counter["minimum"]), number(counter["maximum"])
    return least if least == largest else f"{least} to {largest}"
