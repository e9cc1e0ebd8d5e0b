"""The raw material: sheets of handwritten digits as a scanner leaves them, fifty to a sheet.

A sheet is a grey picture (`sheet-07.pgm`: five rows of ten digits, each of 8 by 8 pixels, ink from 0 to 16) and a
transcript (`sheet-07.txt`: the same digits in letters). The digits are the 1,797 real ones of scikit-learn's
`load_digits`, written by 43 people; only their layout on sheets is made here, and three accidents with it:
one file that was cut off, one sheet scanned with the lid open, one sheet with a coffee stain.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CELL = 8
ROWS, COLUMNS = 5, 10
BLACK = 16

CUT_OFF = 12
LID_OPEN = 27
STAINED = 5

Picture = NDArray[np.uint8]


def read_scan(path: Path) -> Picture:
    """Read a binary PGM picture.

    Returns
    -------
    Grey values from 0 to 16, shape (height, width).

    Raises
    ------
    ValueError
        If the file is not such a picture, or holds fewer pixels than it promises.
    """
    kind, size, _, pixels = path.read_bytes().split(b"\n", 3)
    if kind != b"P5":
        raise ValueError("not a PGM picture")
    width, height = map(int, size.split())
    if len(pixels) != width * height:
        raise ValueError(f"cut off: {len(pixels)} of {width * height} pixels")
    return np.frombuffer(pixels, np.uint8).reshape(height, width)


def write_scan(path: Path, picture: Picture) -> None:
    """Write grey values from 0 to 16, shape (height, width), as a binary PGM picture."""
    height, width = picture.shape
    path.write_bytes(b"P5\n%d %d\n%d\n" % (width, height, BLACK) + picture.tobytes())


def cut_out(picture: Picture) -> Picture:
    """Cut a sheet into its digits: from shape (40, 80) to shape (50, 8, 8), row by row."""
    return picture.reshape(ROWS, CELL, COLUMNS, CELL).swapaxes(1, 2).reshape(-1, CELL, CELL)


def lay_out(digits: Picture) -> Picture:
    """Lay up to fifty digits out on a sheet, the reverse of `cut_out`; what is left over stays white."""
    cells = np.zeros((ROWS * COLUMNS, CELL, CELL), np.uint8)
    cells[: len(digits)] = digits
    return cells.reshape(ROWS, COLUMNS, CELL, CELL).swapaxes(1, 2).reshape(ROWS * CELL, COLUMNS * CELL)


def write_sheets(folder: Path) -> None:
    """Write all sheets into `folder`, accidents included."""
    from sklearn.datasets import load_digits

    folder.mkdir(parents=True, exist_ok=True)
    everything = load_digits()
    digits = everything.images.astype(np.uint8)
    letters = "".join(map(str, everything.target))
    fifty = ROWS * COLUMNS
    for number, first in enumerate(range(0, len(digits), fifty)):
        scan = folder / f"sheet-{number:02}.pgm"
        picture = lay_out(digits[first : first + fifty])
        if number == LID_OPEN:
            picture[:] = BLACK
        if number == STAINED:
            picture[18:34, 30:50] = BLACK
        write_scan(scan, picture)
        if number == CUT_OFF:
            scan.write_bytes(scan.read_bytes()[:1500])
        written = letters[first : first + fifty]
        rows = [written[start : start + COLUMNS] for start in range(0, len(written), COLUMNS)]
        scan.with_suffix(".txt").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the sheets of handwritten digits.")
    parser.add_argument("folder", type=Path)
    write_sheets(parser.parse_args().folder)
