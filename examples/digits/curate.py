"""Job 1 of 3, data curation: look at each sheet, keep the digits that can be read, say why the others were not kept.

    mpiexec -n 4 python -m mpi4py curate.py FOLDER

reads FOLDER/raw, writes FOLDER/curated and the provenance FOLDER/curation.h5. The sheets are dealt out to the ranks;
each sheet is an activity of the rank that looked at it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from mpi4py import MPI
from progress import report
from sheets import BLACK, cut_out, read_scan

import provml_hpc as provml

LEAST_CONTRAST = 4  # grey levels between the lightest and the darkest pixel of a digit

DIGIT = np.dtype([("pixels", np.uint8, (8, 8)), ("digit", np.uint8)])


def curate(run: provml.Run, scan: Path, target: Path) -> str:
    """Curate one sheet and return the verdict."""
    with run.activity("curate sheet", params={"least_contrast": LEAST_CONTRAST}) as activity:
        transcript = activity.use_dataset(scan.with_suffix(".txt"), role="transcript")
        try:
            picture = read_scan(scan)
        except ValueError as reason:
            activity.use_dataset(scan, role="scan", characteristics={"bytes": scan.stat().st_size})
            activity.log_values({"verdict": "rejected", "reason": str(reason)})
            return f"rejected, {reason}"
        height, width = picture.shape
        looks = {"width": width, "height": height, "grey_levels": BLACK + 1, "mean_ink": round(picture.mean(), 2)}
        sheet = activity.use_dataset(scan, role="scan", characteristics=looks)

        letters = list(scan.with_suffix(".txt").read_text().replace("\n", ""))
        digits = cut_out(picture)[: len(letters)]
        legible = np.ptp(digits, axis=(1, 2)) >= LEAST_CONTRAST
        kept, lost = int(legible.sum()), int((~legible).sum())
        if not kept:
            activity.log_values({"verdict": "rejected", "reason": "no digit has contrast"})
            return "rejected, no digit has contrast"

        curated = np.empty(kept, DIGIT)
        curated["pixels"] = digits[legible]
        curated["digit"] = np.array(letters, np.uint8)[legible]
        np.save(target, curated)
        activity.log_values({"verdict": "accepted", "kept": kept, "illegible": lost})
        activity.generate_dataset(target, derived_from=[sheet, transcript], characteristics={"digits": kept})
        return f"{kept} digits kept" + (f", {lost} illegible" if lost else "")


def main() -> None:
    """Curate all sheets."""
    parser = argparse.ArgumentParser(description="Curate the sheets of handwritten digits.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    comm = MPI.COMM_WORLD

    scans = sorted((folder / "raw").glob("sheet-*.pgm"))
    (folder / "curated").mkdir(exist_ok=True)
    with provml.init(
        "digits-curation", phase="curation", study="handwritten-digits", output=folder / "curation.h5", comm=comm
    ) as run:
        for position in range(comm.rank, len(scans), comm.size):
            scan = scans[position]
            verdict = curate(run, scan, folder / "curated" / f"{scan.stem}.npy")
            report(position + 1, len(scans), f"{scan.stem}: {verdict}")


if __name__ == "__main__":
    main()
