"""A run whose buffer, place or clock is bad: arguments are WAY OUTPUT FOLDER [journal]; what it saw goes to FOLDER."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import provml_hpc as provml
from tests.faults import acknowledged

WAY, OUTPUT, FOLDER = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
JOURNAL = sys.argv[4] if len(sys.argv) > 4 else "output"
STEPS = 60_000
TOLD = acknowledged.Acknowledged(acknowledged.file_of(FOLDER, 1, 0))
SEEN: dict[str, Any] = {}


def log(training: Any, first: int, count: int) -> None:
    """Log samples as the guarantee's check expects them."""
    for step in range(first, first + count):
        training.log(step, loss=float(10**9 + training._session.rank * 10**6 + step))


def values(training: Any, count: int, size: int = 10) -> None:
    """Log values as the guarantee's check expects them."""
    for number in range(count):
        training.log_values({f"told-1-{training._session.rank}-{number}": "x" * size})
        TOLD.put("values", number + 1)


def begin(**more: Any) -> Any:
    """Open the run."""
    return provml.init("bounds", phase="learning", output=OUTPUT, **({"journal": JOURNAL} | more))


def thinned() -> None:
    """Log far more than the buffer takes, some of it from another thread, and structure all along."""
    import threading

    with begin(buffer="64 KiB") as run, run.training() as training:
        log(training, 0, STEPS)

        def aside() -> None:
            for step in range(STEPS):
                training.log(step, other=1.0)

        thread = threading.Thread(target=aside)
        thread.start()
        thread.join()
        values(training, 500, 1000)
        run.flush()
        log(training, STEPS, 100)  # there is room again
        with training.section("epoch", 0) as epoch:
            epoch.evaluate(accuracy=0.5)


def killed() -> None:
    """Be killed where samples are thinned, some time after a flush point."""
    with begin(buffer="64 KiB") as run, run.training() as training:
        for step in range(7777):
            training.log(step, loss=float(10**9 + step))
            training.log(step, **{f"other {step % 40}": 1.0})
            TOLD.put("samples", step + 1)
            if step == 3000:
                run.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def large() -> None:
    """Log records that are larger than the buffer."""
    with begin(buffer="64 KiB") as run, run.training() as training:
        log(training, 0, 10)
        values(training, 3, 300_000)
        run.flush()
        log(training, 10, 10)


def place() -> None:
    """Log and flush, whatever the place is like."""
    with begin(buffer="1 MiB") as run, run.training() as training:
        for part in range(5):
            log(training, part * 3000, 3000)
            TOLD.put("samples", (part + 1) * 3000)
            run.flush()
        values(training, 20)
    SEEN["journal"] = str(run._session.folder)


def clock() -> None:
    """Have the wall clock step back by an hour during the run."""
    import provml_hpc.capture.session as session

    real = time.time_ns
    with begin() as run, run.training() as training:
        log(training, 0, 100)
        time.time_ns = session.time_ns = lambda: real() - 3600 * 10**9
        log(training, 100, 100)
        run.flush()
        log(training, 200, 100)


def main() -> None:
    """Do it, and note the warnings and the error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if WAY == "strict":
                with begin(strict=True, buffer="1 MiB") as run, run.training() as training:
                    for part in range(5):
                        log(training, part * 3000, 3000)
                        run.flush()
            else:
                {"thinned": thinned, "killed": killed, "large": large, "place": place, "clock": clock}[WAY]()
        except provml.ProvMLError as error:
            SEEN["error"] = f"{type(error).__name__}: {error}"
    SEEN["warnings"] = [str(w.message) for w in caught]
    (FOLDER / f"seen-{os.getpid()}.json").write_text(json.dumps(SEEN))


main()
