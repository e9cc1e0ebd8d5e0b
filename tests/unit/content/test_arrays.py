"""Identity of arrays."""

from __future__ import annotations

import array
import sys

import numpy as np
import pytest

from provml_hpc.content import (
    Digest,
    digest_array,
)
from provml_hpc.errors import UsageError
from tests.unit.content.made import sha256


class TestArray:
    def test_is_as_documented(self) -> None:
        data = np.arange(12, dtype="<f8").reshape(3, 4)
        expected = sha256(b"sha256-array\n<f8\n3,4\n" + data.tobytes())
        assert digest_array(data) == Digest("sha256-array", expected, 96)

    @pytest.mark.parametrize(
        "same",
        [
            lambda a: np.asfortranarray(a),
            lambda a: np.repeat(a, 2, axis=1)[:, ::2],
            lambda a: a[::-1].copy()[::-1],
            lambda a: memoryview(a.data),
            lambda a: np.asfortranarray(a).data,
        ],
    )
    def test_layout_does_not_matter(self, same) -> None:  # type: ignore[no-untyped-def]
        data = np.arange(12, dtype="<i4").reshape(3, 4)
        assert digest_array(same(data)) == digest_array(data)

    @pytest.mark.parametrize(
        "other",
        [
            lambda a: a.reshape(4, 3),
            lambda a: a.astype("<i8"),
            lambda a: a.astype(">i4"),
            lambda a: a.view("<f4"),
            lambda a: a.T,
            lambda a: a + 1,
        ],
    )
    def test_type_shape_and_values_matter(self, other) -> None:  # type: ignore[no-untyped-def]
        data = np.arange(12, dtype="<i4").reshape(3, 4)
        assert digest_array(other(data)) != digest_array(data)

    def test_more_than_a_slab(self) -> None:
        data = np.arange(2**22 + 7, dtype="<f8")[::2]
        expected = sha256(f"sha256-array\n<f8\n{data.size}\n".encode() + data.tobytes())
        assert digest_array(data).hexdigest == expected

    @pytest.mark.parametrize(
        "data",
        [
            np.float32(1.5),
            np.array(3),
            np.array(["a", "bc"]),
            np.array([b"a"]),
            np.array(["2020-01-01"], "M8[ns]"),
            np.zeros(2, [("x", "<f4"), ("y", "<i8", 2)]),
            np.array([True]),
            np.array([1j]),
        ],
    )
    def test_any_type_without_objects(self, data: np.ndarray) -> None:
        found = digest_array(data)
        assert (found.size, found.joins) == (data.nbytes, True)

    def test_standard_buffers_agree_with_numpy(self) -> None:
        for code in "bBhHiIlLqQfd":
            plain = array.array(code, [1, 2, 3])
            assert digest_array(plain) == digest_array(np.array(plain)), code
        assert digest_array(b"abc") == digest_array(np.frombuffer(b"abc", np.uint8))

    @pytest.mark.parametrize("data", [b"", np.zeros((0, 3)), np.zeros((3, 0)), np.zeros((3, 0)).data])
    def test_empty_never_joins(self, data: object) -> None:
        found = digest_array(data)
        assert (found.size, found.joins) == (0, False)

    @pytest.mark.parametrize(
        "data",
        [np.array([object()]), np.ma.array([1, 2], mask=[True, False]), [1, 2], "text", 3, None],
    )
    def test_what_has_no_bytes(self, data: object) -> None:
        with pytest.raises(UsageError):
            digest_array(data)

    def test_tensors_come_through_numpy(self) -> None:
        class Tensor:
            def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
                return np.arange(3)

        class Elsewhere(Tensor):
            def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
                raise TypeError("on a GPU")

        assert digest_array(Tensor()) == digest_array(np.arange(3))
        with pytest.raises(UsageError, match="on a GPU"):
            digest_array(Elsewhere())

    def test_without_numpy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = array.array("d", [1.0, 2.0])
        expected = digest_array(np.array(plain))
        monkeypatch.delitem(sys.modules, "numpy")
        assert digest_array(plain) == expected
