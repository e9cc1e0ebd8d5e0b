"""Job 2 of 3, learning data preparation: split, normalise and augment the curated digits into one learning dataset.

    mpiexec -n 2 python -m mpi4py prepare.py FOLDER

reads FOLDER/curated, writes FOLDER/digits.h5 and the provenance FOLDER/preparation.h5. All ranks share the work of one
activity; the first rank writes the file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray
from progress import report

import provml_hpc as provml

SETTING = {"seed": 7, "validation_share": 0.15, "test_share": 0.15, "largest_ink": 16, "shift": 1}

Pixels = NDArray[np.float64]
Digits = NDArray[np.uint8]


def split(count: int, seed: int) -> NDArray[np.str_]:
    """Draw for each of `count` digits of a sheet whether one learns from it, validates or tests with it."""
    validation, test = SETTING["validation_share"], SETTING["test_share"]
    lots = np.random.default_rng(seed).random(count)
    return np.select([lots < test, lots < test + validation], ["test", "validation"], "training")


def augment(pixels: Pixels, digits: Digits) -> tuple[Pixels, Digits]:
    """Add each digit again, shifted by a pixel to the left, right, top and bottom."""
    shift = int(SETTING["shift"])
    moves = [(0, 0), (0, -shift), (0, shift), (-shift, 0), (shift, 0)]
    return np.concatenate([np.roll(pixels, move, axis=(1, 2)) for move in moves]), np.tile(digits, len(moves))


def main() -> None:
    """Prepare the learning dataset."""
    parser = argparse.ArgumentParser(description="Prepare the learning dataset of handwritten digits.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    comm = MPI.COMM_WORLD

    sheets = sorted((folder / "curated").glob("sheet-*.npy"))
    with (
        provml.init(
            "digits-preparation",
            phase="preparation",
            study="handwritten-digits",
            output=folder / "preparation.h5",
            comm=comm,
        ) as run,
        run.activity("split, normalise, augment", local=False, params=SETTING) as activity,
    ):
        share: dict[str, list[tuple[Pixels, Digits]]] = {"training": [], "validation": [], "test": []}
        for position in range(comm.rank, len(sheets), comm.size):
            activity.use_dataset(sheets[position], role="curated sheet")
            curated = np.load(sheets[position])
            pixels, digits = curated["pixels"] / SETTING["largest_ink"], curated["digit"]
            parts = split(len(curated), seed=int(SETTING["seed"]) + position)
            for part, shares in share.items():
                chosen = pixels[parts == part], digits[parts == part]
                shares.append(augment(*chosen) if part == "training" else chosen)
            report(position + 1, len(sheets) + 1, sheets[position].stem)

        shares_of_all = comm.gather(share)
        if shares_of_all is not None:
            target = folder / "digits.h5"
            counts = {}
            with h5py.File(target, "x") as file:
                for part in share:
                    pieces = [piece for one in shares_of_all for piece in one[part]]
                    file[f"{part}/pixels"] = np.concatenate([pixels for pixels, _ in pieces])
                    file[f"{part}/digits"] = np.concatenate([digits for _, digits in pieces])
                    counts[part] = len(file[f"{part}/digits"])
            activity.generate_dataset(target, derived_from=sheets, characteristics={**counts, "classes": 10})
            report(len(sheets) + 1, len(sheets) + 1, f"{target.name}: {counts}")


if __name__ == "__main__":
    main()
