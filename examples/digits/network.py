"""A network of one hidden layer in numpy, with its gradient and nothing more."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PIXELS, DIGITS = 64, 10

Array = NDArray[np.float64]


class Network:
    """Tells the digits apart: 64 pixels in, one probability for each of ten digits out.

    All weights lie in one vector, `weights`, so that ranks can add up gradients in a single message; the matrices of
    the layers are views of it.

    Parameters
    ----------
    hidden
        Units of the hidden layer.
    seed
        Where the random first weights start from.
    """

    def __init__(self, hidden: int, seed: int) -> None:
        shapes = [(PIXELS, hidden), (hidden,), (hidden, DIGITS), (DIGITS,)]
        ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
        self.weights: Array = np.zeros(ends[-1])
        parts = np.split(self.weights, ends[:-1])
        self.W1, self.b1, self.W2, self.b2 = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
        random = np.random.default_rng(seed)
        self.W1[:] = random.normal(0, np.sqrt(2 / PIXELS), self.W1.shape)
        self.W2[:] = random.normal(0, np.sqrt(1 / hidden), self.W2.shape)

    def probabilities(self, X: Array) -> Array:
        """Return how likely each digit is for each row of `X`: shape (n, 64) to shape (n, 10)."""
        scores = np.maximum(X @ self.W1 + self.b1, 0) @ self.W2 + self.b2
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def hits(self, X: Array, y: NDArray[np.uint8]) -> int:
        """Return how many rows of `X` are taken for the digit they are."""
        return int((self.probabilities(X).argmax(axis=1) == y).sum())

    def gradient(self, X: Array, y: NDArray[np.uint8]) -> tuple[float, Array]:
        """Return the cross entropy summed over the rows of `X`, and its gradient in the order of `weights`."""
        hidden = np.maximum(X @ self.W1 + self.b1, 0)
        slope = self.probabilities(X)
        loss = float(-np.log(slope[np.arange(len(y)), y] + 1e-12).sum())
        slope[np.arange(len(y)), y] -= 1
        back = (slope @ self.W2.T) * (hidden > 0)
        parts = [X.T @ back, back.sum(axis=0), hidden.T @ slope, slope.sum(axis=0)]
        return loss, np.concatenate([part.ravel() for part in parts])

    def save(self, path: Path) -> None:
        """Write the layers into an `.npz` file."""
        np.savez(path, W1=self.W1, b1=self.b1, W2=self.W2, b2=self.b2)

    def load(self, path: Path) -> None:
        """Take the layers from an `.npz` file."""
        with np.load(path) as layers:
            for name in layers:
                getattr(self, name)[:] = layers[name]

    def fingerprint(self) -> str:
        """Return the SHA-256 of all weights, to the last bit."""
        return hashlib.sha256(self.weights.tobytes()).hexdigest()
