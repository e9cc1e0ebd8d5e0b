"""The plots of ``docs/benchmarks.md``, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.pages import Lines, pick

_OURS = "C0"
_OTHERS = "0.7"


def _reach(lines: Lines) -> list[list[float]]:
    """Return how far the intervals of medians reach down and up from them."""
    return [[d["median"] - d["low"] for d in lines], [d["high"] - d["median"] for d in lines]]


def _call(results: dict[str, Lines], pyplot: Any) -> Any:
    bars = [
        d for d in pick(results.get("call", []), "measurement", what="a step with 3 values") if d["arm"] != "nothing"
    ]
    if not bars:
        return None
    figure, axes = pyplot.subplots(figsize=(7.5, 3.8))
    bars.sort(key=lambda d: d["median"])
    colours = [_OURS if d["arm"].startswith(("log", "series")) else _OTHERS for d in bars]
    axes.barh([d["arm"] for d in bars], [d["median"] for d in bars], xerr=_reach(bars), color=colours)
    axes.set_xlabel("CPU of the caller, nanoseconds a step of 3 values")
    axes.set_title("One call (bars: median; lines: its 95 % interval)", fontsize=10)
    return figure


def _peers(results: dict[str, Lines], pyplot: Any) -> Any:
    shares = pick(results.get("peers", []), "ratio")
    if not shares:
        return None
    figure, axes = pyplot.subplots(figsize=(7.5, 4.5))
    names = list(dict.fromkeys(d["arm"] for d in shares))[::-1]
    said = {"caller": "in the loop of steps", "total": "all threads, to the closed file"}
    for offset, what, colour in ((0.2, "caller", "C0"), (-0.2, "total", "C1")):
        found = {d["arm"]: d for d in shares if d["what"].endswith(what)}
        places = [index + offset for index in range(len(names))]
        lines = [found[name] for name in names]
        values = [d["median"] for d in lines]
        axes.barh(places, values, xerr=_reach(lines), height=0.38, color=colour, label=said[what])
    axes.set_yticks(range(len(names)), names)
    axes.axvline(1, color="0.4", linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("CPU of a step of 3 values, times that of plain JSON lines (log scale)")
    axes.legend()
    return figure


def _flush(results: dict[str, Lines], pyplot: Any) -> Any:
    lines = [
        d
        for d in pick(results.get("flush", []), "measurement", clock="cpu writer", bytes=64 << 10)
        if d["arm"] in ("flush", "bare")
    ]
    libraries = [name for name in ("MPICH", "Open MPI") if any(d["mpi"].startswith(name) for d in lines)]
    if not libraries:
        return None
    figure, all_axes = pyplot.subplots(1, len(libraries), figsize=(7.5, 3.8), sharey=True, squeeze=False)
    for axes, library in zip(all_axes[0], libraries, strict=True):
        for place, style in (("on disk", "-"), ("in memory", "--")):
            for arm, colour in (("flush", _OURS), ("bare", "0.5")):
                points = sorted(
                    (d for d in lines if (d["arm"], d["place"]) == (arm, place) and d["mpi"].startswith(library)),
                    key=lambda d: d["ranks"],
                )
                if points:
                    ranks, values = [d["ranks"] for d in points], [d["median"] for d in points]
                    label = f"{arm}, file {place}"
                    axes.errorbar(
                        ranks, values, _reach(points), fmt=f"o{style}", color=colour, label=label, markersize=4
                    )
        shown = sorted({d["ranks"] for d in lines})
        axes.set_xscale("log", base=2)
        axes.set_xticks(shown, [str(n) for n in shown])
        axes.minorticks_off()
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
        axes.set_xlabel(f"ranks, 64 KiB each, {library}")
    all_axes[0][0].set_ylabel("CPU of the writer rank, milliseconds\na flush point")
    all_axes[0][0].legend(fontsize=8)
    return figure


def _model(results: dict[str, Lines], pyplot: Any) -> Any:
    lines = pick(results.get("model", []), "note", library="MPICH", place="on disk", clock="cpu writer")
    told = [d for d in lines if d["what"] == "prediction"]
    points = [d for d in lines if d["what"] == "point"]
    if not told or not points:
        return None
    figure, axes = pyplot.subplots(figsize=(7.5, 3.8))
    for colour, size in zip(("C0", "C1", "C2"), sorted({d["bytes"] for d in told}), strict=False):
        line = sorted((d["ranks"], d["seconds"]) for d in told if d["bytes"] == size)
        axes.plot(*zip(*line, strict=True), "--", color=colour, label=f"{size >> 10} KiB a rank, predicted")
        for held, fill in ((False, colour), (True, "none")):
            dots = [(d["ranks"], d["measured"]) for d in points if (d["bytes"], d["held_out"]) == (size, held)]
            if dots:
                label = f"{size >> 10} KiB, measured" + (", held out of the fit" if held else "")
                axes.plot(*zip(*dots, strict=True), "o", color=colour, markerfacecolor=fill, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("ranks, MPICH, file on disk")
    axes.set_ylabel("CPU of the writer rank, s a flush point")
    axes.legend(fontsize=7)
    return figure


PLOTS: dict[str, Callable[[dict[str, Lines], Any], Any]] = {
    "call": _call,
    "peers": _peers,
    "flush": _flush,
    "model": _model,
}


def draw(results: dict[str, Lines], folder: Path) -> list[Path]:
    """Draw the plots as PNG and SVG, where matplotlib is installed."""
    try:
        import matplotlib
    except ImportError:
        print("no plots: install the extra bench for matplotlib")
        return []
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "provml-hpc"  # the same results, the same bytes
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, plot in PLOTS.items():
        figure = plot(results, pyplot)
        if figure is None:
            continue
        figure.tight_layout()
        for kind in ("png", "svg"):
            path = folder / f"{name}.{kind}"
            figure.savefig(path, dpi=120, metadata={"Date": None} if kind == "svg" else None)
            made.append(path)
        pyplot.close(figure)
    return made
