"""The thread that samples: it finds out what there is, then reads it turn by turn into a journal of its own."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from time import monotonic, thread_time_ns, time_ns

from provml_hpc import records
from provml_hpc.environment.yielding import give_way
from provml_hpc.errors import ProvMLError
from provml_hpc.journal import SideJournal
from provml_hpc.telemetry import host, nvml
from provml_hpc.telemetry.gauge import NAN, Gauge, Gone
from provml_hpc.telemetry.visible import Neighbour, Seen, given
from provml_hpc.values import clean_text, normalise

log = logging.getLogger("provml_hpc")

_SHARE = 0.02
"""The share of a processor that sampling may take; beyond it, the time between turns is doubled."""
_LOOK = 10
"""Turns over which that is looked at."""
_SLOWEST_S = 60.0


def can_sample() -> str:
    """Return why nothing can be sampled here; empty if something can. Imports nothing."""
    if any(find_spec(name) for name in ("psutil", "pynvml")):
        return ""
    return "neither psutil nor nvidia-ml-py is installed; pip install 'provml-hpc[telemetry]'"


class Sampler:
    """Samples the counters of one node for one run, in a daemon thread.

    Nothing here raises into the thread that makes it, and nothing waits for it longer than it says.

    Parameters
    ----------
    journal
        Where records and samples go; its lock is held while one of them is written, never while a counter is read.
    node
        The name of this node.
    neighbours
        The ranks on it.
    hz
        Turns a second.
    apart
        Whether the ranks of the node do not find each other, so that each samples the devices that it uses itself, and
        the first of them the node.
    """

    def __init__(
        self, journal: SideJournal, node: str, neighbours: Sequence[Neighbour], hz: float, *, apart: bool = False
    ) -> None:
        self._journal, self._node, self._neighbours = journal, node, neighbours
        self._period = 1 / hz
        self._apart = apart
        self._over = self._ended = False
        self._wake = threading.Event()
        self._turned = threading.Condition()
        self.is_late = False
        """Whether a turn that was asked for did not come in time: a call of a driver hangs."""
        self._layouts = 0
        self._library: nvml.Library | None = None
        self._devices: dict[int, nvml.Device] = {}
        self._gauges: dict[int, Gauge] = {}
        """By the number under which their samples are announced."""
        self._gpu_memory: dict[int, float] = {}
        """What each process of a neighbour takes on all devices, in bytes."""
        self._placed: set[tuple[int, int]] = set()
        """Process and device, for each that was seen."""
        self._given: set[int] = set()
        self.cpu_ns = 0
        """What the thread took of a processor so far."""
        self.turns = 0
        self._thread = threading.Thread(target=self._run, name="provml-telemetry", daemon=True)

    def start(self) -> None:
        """Begin."""
        # Here and not in the thread: an import keeps the interpreter from all other threads, and while a journal is
        # made they wait for the pages of theirs.
        for name in ("psutil", "pynvml"):
            with suppress(Exception):  # the thread tells what is missing, or broken
                import_module(name)
        self._fact("telemetry.hz", 1 / self._period)  # the journal is made by that
        self._thread.start()

    def take_turn(self, timeout: float) -> bool:
        """Have a turn now, and wait for it, a bounded time; False if it did not come.

        After a turn that did not come nothing is waited for any more.
        """
        wanted = self.turns + 1
        self._wake.set()
        if not self.is_late:
            with self._turned:
                self.is_late = not self._turned.wait_for(lambda: self.turns >= wanted or self._ended, timeout)
        return not self.is_late

    def stop(self) -> None:
        """End, without waiting for it; what a hanging call brings later is not recorded."""
        self._over = True
        self._wake.set()

    def _run(self) -> None:
        try:
            self._find()
            self._sample()
        except ProvMLError as error:  # the run ended, or there is no room for its journal
            log.info("telemetry ended: %s", error)
        except Exception as error:
            log.info("telemetry ended: %s", error, exc_info=True)
            self._fact("telemetry.reason", f"it ended: {type(error).__name__}: {error}"[:500])
        finally:
            with self._turned:
                self._ended = True
                self._turned.notify_all()
            self._close()

    def _close(self) -> None:
        if self._library is not None:
            try:
                self._library.close()
            except Exception as error:
                log.info("telemetry: %s", error)

    # What there is.

    def _find(self) -> None:
        self._find_devices()
        if not self._apart or _is_first():
            try:
                self._add(host.node_gauge())
            except Exception as error:
                self._fact("telemetry.host.reason", _missing(error, "psutil"))
        for neighbour in self._neighbours:
            self._add_process(neighbour)

    def _find_devices(self) -> None:
        try:
            self._library = library = nvml.Library()
            for name, value in library.facts().items():
                self._fact(name, value)
            found = list(library.devices())
        except Exception as error:
            self._fact("telemetry.gpu.reason", _missing(error, "nvidia-ml-py"))
            return
        handles: dict[int, int] = {}
        for device in found:
            if isinstance(device, str):
                name, _, why = device.partition(": ")
                self._fact(f"telemetry.{name}.reason", why)
                continue
            label = clean_text(f"{self._node} {device.name}")
            parent = handles.get(id(device.parent), 0)
            handle = self._write(
                records.Device(device.index, parent, clean_text(device.identifier), label, clean_text(device.model))
            )
            handles[id(device)] = handle
            self._devices[handle] = device
            for name, value in device.facts.items():
                self._fact(name, value, handle)
            counters = {name: unit for reading in device.readings for name, unit in reading.counters.items()}
            if counters:
                self._add(Gauge(counters, lambda device=device: library.read(device), device=handle))  # type: ignore[misc]
        self._place_given()

    def _place_given(self) -> None:
        """Say which devices the ranks of this node were given."""
        seen = [
            Seen(handle, -1 if device.parent else device.index, device.identifier)
            for handle, device in self._devices.items()
        ]
        for one in self._neighbours:
            for handle in given(one.devices, seen):
                self._given.add(handle)
                self._write(records.Placed(handle, one.rank, one.variable))

    def _add_process(self, neighbour: Neighbour) -> None:
        counters: dict[str, str] = {}
        reads: list[Callable[[], tuple[float, ...]]] = []
        try:
            counters, read = host.process_counters(neighbour.pid)
            reads.append(read)
        except Exception as error:  # no psutil, or a process that this one may not look at
            log.info("telemetry: rank %d is not sampled: %s", neighbour.rank, error)
        if self._devices:
            counters = counters | {"gpu_memory_B": "B"}
            reads.append(lambda: (self._gpu_memory.get(neighbour.pid, NAN),))
        if counters:
            self._add(Gauge(counters, lambda: tuple(x for read in reads for x in read()), rank=neighbour.rank))

    def _add(self, gauge: Gauge) -> None:
        if gauge.counters:
            self._layouts += 1
            names, units = json.dumps([*gauge.counters]), json.dumps([*gauge.counters.values()])
            self._write(records.Counters(self._layouts, gauge.device, gauge.rank, names, units))
            self._gauges[self._layouts] = gauge

    # Turn by turn.

    def _sample(self) -> None:
        due = monotonic()
        looked_at = thread_time_ns()
        while self._gauges and not self._over:
            self._wake.clear()
            self._turn()
            self.cpu_ns = thread_time_ns()
            with self._turned:
                self.turns += 1
                self._turned.notify_all()
            if self.turns % _LOOK == 0:
                spent, looked_at = (self.cpu_ns - looked_at) / 1e9, self.cpu_ns
                if spent > _SHARE * _LOOK * self._period and self._period < _SLOWEST_S:
                    self._period *= 2
                    self._fact("telemetry.slowed_to_hz", 1 / self._period)
            now = monotonic()
            due = due + self._period if due + self._period > now else now + self._period  # missed turns are not made up
            self._wake.wait(due - now)

    def _turn(self) -> None:
        self._see_processes()
        mine = {handle for _, handle in self._placed} or self._given
        for number, gauge in list(self._gauges.items()):
            give_way()
            if self._apart and gauge.device and gauge.device not in mine:
                continue
            try:
                values = gauge.read()
            except Gone as gone:
                del self._gauges[number]
                if gauge.device:
                    self._fact("lost", f"{gone}", gauge.device)
                    self._fact("lost.time_ns", time_ns(), gauge.device)
                continue
            with self._journal.lock:
                journal = self._journal.journal
                if journal is None:
                    raise _OverError
                kept = journal.write_sample(number, self.turns, 0, values)
            if not kept:
                self._journal.count(0, "buffer full", "telemetry", 1)

    def _see_processes(self) -> None:
        if self._library is None or not self._neighbours:
            return
        ranks = {one.pid: one.rank for one in self._neighbours}
        self._gpu_memory.clear()
        for handle, device in self._devices.items():
            for pid, memory in self._library.processes(device).items():
                if pid in ranks:
                    self._gpu_memory[pid] = self._gpu_memory.get(pid, 0.0) + memory
                    if (pid, handle) not in self._placed:
                        self._placed.add((pid, handle))
                        self._write(records.Placed(handle, ranks[pid], records.BY_PROCESS))

    def _write(self, record: records.Record) -> int:
        return self._journal.write(record)

    def _fact(self, name: str, value: object, device: int = 0) -> None:
        kind, text = normalise(value, name)
        try:
            self._write(records.Fact("telemetry", name, kind, text, device))
        except (OSError, ProvMLError) as error:
            log.info("telemetry: %s is not told: %s", name, error)


class _OverError(ProvMLError, RuntimeError):
    """The journal was closed: the run is over."""

    def __init__(self) -> None:
        super().__init__("the run is over; nothing is to be done")


def _is_first() -> bool:
    """Whether this process is the first of its launch on its node, as far as the launcher says."""
    return next((os.environ[name] for name in ("LOCAL_RANK", "SLURM_LOCALID") if name in os.environ), "0") == "0"


def _missing(error: Exception, package: str) -> str:
    if isinstance(error, ImportError):
        return f"{package} is not installed; pip install 'provml-hpc[telemetry]'"
    return f"{type(error).__name__}: {error}"[:300]
