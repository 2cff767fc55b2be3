"""Reading arrays that others stored: IDX files (Fashion-MNIST) and pickled numpy arrays.

The unpickler admits numpy arrays and nothing else, so that no code of the file's author runs.
"""

import io
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kurabe.errors import UserError

_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"): ("numpy", "ndarray"),
    ("numpy", "dtype"): ("numpy", "dtype"),
}


class _ArraysOnly(pickle.Unpickler):  # noqa: S301
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in _ADMITTED:
            raise UserError(f"A pickle that asks for {module_name}.{global_name} is not read.")
        return super().find_class(*_ADMITTED[module_name, global_name])


def read_pickled_array(content: bytes) -> NDArray[Any]:
    """The numeric array in a pickle; UserError where it holds or asks for anything else."""
    try:
        array: Any = _ArraysOnly(io.BytesIO(content)).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, ValueError) as error:
        raise UserError(f"This is not a pickled array: {error}.") from None
    if type(array) is not np.ndarray or array.dtype.kind not in "biuf":
        raise UserError("This pickle does not hold an array of numbers.")
    return array


def read_idx(content: bytes) -> NDArray[np.uint8]:
    """An IDX array of bytes: 0, 0, 8, its number of axes, big-endian sizes, then the bytes."""
    if content[:3] != b"\0\0\x08":
        raise UserError("This is not an IDX file of bytes.")
    axes = content[3]
    shape = tuple(np.frombuffer(content, ">u4", axes, 4).tolist())
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
