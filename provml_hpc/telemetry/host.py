"""The node itself and the processes of ranks on it, through psutil; InfiniBand through the kernel's own files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from provml_hpc.telemetry.gauge import NAN, Gauge, Gone

_INFINIBAND = Path("/sys/class/infiniband")
_WORD = 4
"""Bytes that InfiniBand counts as one."""


def node_gauge() -> Gauge:
    """Return the counters of this node: those that it has.

    Raises
    ------
    ImportError
        There is no psutil.
    """
    import psutil

    readings: list[tuple[dict[str, str], Callable[[], tuple[float, ...]]]] = [
        ({"cpu_percent": "%"}, lambda: (psutil.cpu_percent(None),)),
        ({"memory_used_B": "B", "memory_available_B": "B"}, lambda: _memory(psutil)),
        ({"disk_read_B": "B", "disk_written_B": "B"}, lambda: _disk(psutil)),
        ({"network_received_B": "B", "network_sent_B": "B"}, lambda: _network(psutil)),
        ({"infiniband_received_B": "B", "infiniband_sent_B": "B"}, _infiniband),
    ]
    kept = []
    for names, call in readings:
        try:
            call()
            kept.append((names, call))
        except Exception:  # a container may hide any of them
            continue

    def read() -> tuple[float, ...]:
        found: list[float] = []
        for names, call in kept:
            try:
                found += call()
            except Exception:
                found += [NAN] * len(names)
        return tuple(found)

    return Gauge({name: unit for names, _ in kept for name, unit in names.items()}, read)


def _memory(psutil: Any) -> tuple[float, ...]:
    memory = psutil.virtual_memory()
    return float(memory.total - memory.available), float(memory.available)


def _disk(psutil: Any) -> tuple[float, ...]:
    disk = psutil.disk_io_counters()  # None where no disk is told of
    return float(disk.read_bytes), float(disk.write_bytes)


def _network(psutil: Any) -> tuple[float, ...]:
    cards = [card for name, card in psutil.net_io_counters(pernic=True).items() if name != "lo"]
    if not cards:
        raise OSError("there is no network card")
    return float(sum(card.bytes_recv for card in cards)), float(sum(card.bytes_sent for card in cards))


def _infiniband() -> tuple[float, ...]:
    ports = [port / "counters" for card in _INFINIBAND.iterdir() for port in (card / "ports").iterdir()]
    if not ports:
        raise OSError("there is no port")
    return tuple(
        float(sum(int((port / name).read_text()) for port in ports) * _WORD)
        for name in ("port_rcv_data", "port_xmit_data")
    )


def process_counters(pid: int) -> tuple[dict[str, str], Callable[[], tuple[float, ...]]]:
    """Return the counters of one process, and how to read them.

    Raises
    ------
    ImportError
        There is no psutil.
    """
    import psutil

    process = psutil.Process(pid)

    def read() -> tuple[float, ...]:
        try:
            with process.oneshot():
                times = process.cpu_times()
                return times.user + times.system, float(process.memory_info().rss)
        except psutil.NoSuchProcess:
            raise Gone("the process ended") from None
        except psutil.Error:
            return NAN, NAN

    return {"cpu_s": "s", "memory_rss_B": "B"}, read
