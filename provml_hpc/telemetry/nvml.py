"""NVIDIA GPUs, through their driver's library: which there are, what their counters say, which processes they run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from provml_hpc.telemetry.gauge import NAN, Gone

_ALL_LINKS = 0xFFFFFFFF
_PATIENCE = 10
"""Turns in which no counter of a device answered, after which it counts as gone."""


class Reading(NamedTuple):
    """Counters that one call tells of."""

    counters: dict[str, str]
    call: Callable[[Any, Any], tuple[float, ...]]
    """Takes the library and the handle of a device."""


def _fields(*wanted: tuple[str, int], scale: float = 1.0) -> Callable[[Any, Any], tuple[float, ...]]:
    """Return a call that reads fields, each given by name and scope."""

    def call(nvml: Any, handle: Any) -> tuple[float, ...]:
        asked = [(getattr(nvml, name), scope) for name, scope in wanted]
        found = []
        for one in nvml.nvmlDeviceGetFieldValues(handle, asked):
            if one.nvmlReturn:
                raise nvml.NVMLError(one.nvmlReturn)
            found.append(_number(nvml, one) * scale)
        return tuple(found)

    return call


def _number(nvml: Any, value: Any) -> float:
    kinds = {
        nvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
        nvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
        nvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
        nvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
        nvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    }
    return float(getattr(value.value, kinds.get(value.valueType, "ullVal")))


def _utilisation(nvml: Any, handle: Any) -> tuple[float, ...]:
    rates = nvml.nvmlDeviceGetUtilizationRates(handle)
    return float(rates.gpu), float(rates.memory)


def _throughput(nvml: Any, handle: Any) -> tuple[float, ...]:
    kinds = (nvml.NVML_PCIE_UTIL_TX_BYTES, nvml.NVML_PCIE_UTIL_RX_BYTES)
    return tuple(nvml.nvmlDeviceGetPcieThroughput(handle, kind) * 1000.0 for kind in kinds)


def _reasons(nvml: Any, handle: Any) -> tuple[float, ...]:
    try:
        return (float(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)),)
    except nvml.NVMLError_FunctionNotFound:  # the name of drivers before 535
        return (float(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),)


READINGS: tuple[tuple[Reading, ...], ...] = (
    (Reading({"utilisation_percent": "%", "memory_utilisation_percent": "%"}, _utilisation),),
    (Reading({"memory_used_B": "B"}, lambda nvml, handle: (float(nvml.nvmlDeviceGetMemoryInfo(handle).used),)),),
    (Reading({"power_W": "W"}, lambda nvml, handle: (nvml.nvmlDeviceGetPowerUsage(handle) / 1000,)),),
    (Reading({"energy_J": "J"}, lambda nvml, handle: (nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000,)),),
    (
        Reading(
            {"temperature_C": "Cel"},
            lambda nvml, handle: (float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),),
        ),
    ),
    (
        Reading(
            {"sm_clock_MHz": "MHz"},
            lambda nvml, handle: (float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),),
        ),
    ),
    (
        Reading(
            {"memory_clock_MHz": "MHz"},
            lambda nvml, handle: (float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),),
        ),
    ),
    (Reading({"throttle_reasons": "bits"}, _reasons),),
    (
        # Counters, where the driver has them: the other way measures for 20 ms in each direction.
        Reading(
            {"pcie_sent_B": "B", "pcie_received_B": "B"},
            _fields(("NVML_FI_DEV_PCIE_COUNT_TX_BYTES", 0), ("NVML_FI_DEV_PCIE_COUNT_RX_BYTES", 0)),
        ),
        Reading({"pcie_sent_B_per_s": "B/s", "pcie_received_B_per_s": "B/s"}, _throughput),
    ),
    (Reading({"pcie_replays": "1"}, lambda nvml, handle: (float(nvml.nvmlDeviceGetPcieReplayCounter(handle)),)),),
    (
        Reading(
            {"nvlink_sent_B": "B", "nvlink_received_B": "B"},
            _fields(
                ("NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX", _ALL_LINKS),
                ("NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX", _ALL_LINKS),
                scale=1024.0,
            ),
        ),
    ),
)
"""Of each group the first reading that a device answers is taken."""

_LOST = "NVMLError_GpuIsLost"
_NEVER = (
    "NVMLError_NotSupported",
    "NVMLError_FunctionNotFound",
    "NVMLError_InvalidArgument",
    "NVMLError_NoPermission",
    "NVMLError_ArgumentVersionMismatch",
    "NVMLError_Deprecated",
)
"""Errors that say that a counter will not answer later either."""


@dataclass
class Device:
    """A GPU, or a slice of one."""

    handle: Any
    name: str
    """What it is called on its node: ``gpu0``, ``gpu0 mig1``."""
    index: int
    """Its number on the node; of a slice, its number on its GPU."""
    identifier: str
    model: str
    parent: Device | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    readings: list[Reading] = field(default_factory=list)
    is_split: bool = False
    """Whether it is divided into slices, on which processes run instead."""
    silent: int = 0


class Library:
    """The driver's library, started.

    Raises
    ------
    Exception
        It is not there or does not start; the text says why.
    """

    def __init__(self) -> None:
        import pynvml

        self._nvml: Any = pynvml
        pynvml.nvmlInit()

    def facts(self) -> dict[str, str]:
        """Return the versions of driver and library."""
        found: dict[str, str] = {}
        for name, call in (
            ("nvidia.driver", "nvmlSystemGetDriverVersion"),
            ("nvidia.nvml", "nvmlSystemGetNVMLVersion"),
        ):
            try:
                found[name] = _text(getattr(self._nvml, call)())
            except Exception as error:
                found[f"{name}.reason"] = _said(error)
        return found

    def devices(self) -> Iterator[Device | str]:
        """Yield the GPUs, each before its slices; for one that cannot be reached, why."""
        nvml = self._nvml
        for number in range(nvml.nvmlDeviceGetCount()):
            try:
                device = self._device(nvml.nvmlDeviceGetHandleByIndex(number), number, f"gpu{number}", None)
                slices = list(self._slices(device))
            except Exception as error:
                yield f"gpu{number}: {_said(error)}"
                continue
            yield device
            yield from slices

    def _device(self, handle: Any, number: int, name: str, parent: Device | None) -> Device:
        nvml = self._nvml
        told: dict[str, Any] = {}
        for what, call in (
            ("identifier", nvml.nvmlDeviceGetUUID),
            ("model", nvml.nvmlDeviceGetName),
            ("memory.total_B", lambda one: int(nvml.nvmlDeviceGetMemoryInfo(one).total)),
            ("pci.bus_id", lambda one: _text(nvml.nvmlDeviceGetPciInfo(one).busId)),
            ("power.limit_W", lambda one: nvml.nvmlDeviceGetPowerManagementLimit(one) / 1000),
        ):
            try:
                told[what] = call(handle)
            except nvml.NVMLError as error:
                if type(error).__name__ == _LOST:
                    raise
        device = Device(
            handle, name, number, _text(told.pop("identifier", "")), _text(told.pop("model", "")), parent, told
        )
        missing: list[str] = []
        for group in READINGS:
            for reading in group:
                try:
                    reading.call(nvml, handle)
                except Exception as error:
                    if type(error).__name__ == _LOST:
                        raise
                    if self._for_ever(error):
                        continue
                device.readings.append(reading)
                break
            else:
                missing += group[0].counters
        if missing:
            device.facts["counters.missing"] = ", ".join(missing)
        return device

    def _for_ever(self, error: Exception) -> bool:
        # A pynvml that is older than a field, or a driver that is, has no such name.
        return isinstance(error, AttributeError) or type(error).__name__ in _NEVER

    def _slices(self, whole: Device) -> Iterator[Device]:
        nvml = self._nvml
        try:
            on, _ = nvml.nvmlDeviceGetMigMode(whole.handle)
        except nvml.NVMLError:
            return
        if not on:
            return
        whole.is_split = True
        for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(whole.handle)):
            try:
                handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(whole.handle, number)
            except nvml.NVMLError:  # a place for a slice that nobody made
                continue
            yield self._device(handle, number, f"{whole.name} mig{number}", whole)

    def read(self, device: Device) -> tuple[float, ...]:
        """Return what the counters of a device say now, NaN for those that do not answer.

        Raises
        ------
        Gone
            It is lost, or has answered nothing for long.
        """
        found: list[float] = []
        trouble = None
        for reading in device.readings:
            try:
                found += reading.call(self._nvml, device.handle)
            except Exception as error:
                if type(error).__name__ == _LOST:
                    raise Gone(_said(error)) from None
                found += [NAN] * len(reading.counters)
                trouble = error
        if trouble is None or not all(map(math.isnan, found)):
            device.silent = 0
        else:
            device.silent += 1
            if device.silent >= _PATIENCE:
                raise Gone(f"no counter answered {_PATIENCE} times: {_said(trouble)}")
        return tuple(found)

    def processes(self, device: Device) -> dict[int, float]:
        """Return the memory in bytes of each process that computes on a device, NaN where that is not told."""
        if device.is_split:
            return {}
        try:
            running = self._nvml.nvmlDeviceGetComputeRunningProcesses(device.handle)
        except Exception:  # a driver that does not tell; the variables have to do then
            return {}
        return {int(one.pid): NAN if one.usedGpuMemory is None else float(one.usedGpuMemory) for one in running}

    def close(self) -> None:
        """Let go of the library; whoever else started it still has it."""
        self._nvml.nvmlShutdown()


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300] if str(error) else type(error).__name__
