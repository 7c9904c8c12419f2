"""numpy's own file format, read without trust: no pickles, and no memory is taken before the sizes agree."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from inference.contract.errors import InputError
from inference.contract.schema import Floats

_READERS = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
MAX_DIMENSIONS = 2


def read(body: bytes) -> Floats:
    """The array as float64, shape (rows, columns).

    Raises:
        InputError: not an .npy file, cut short, or not a two-dimensional array of numbers.
    """
    file = io.BytesIO(body)
    try:
        version = npy_format.read_magic(file)
        shape, fortran, dtype = _READERS[version](file)
    except (ValueError, KeyError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise InputError(f"not a readable .npy file: {str(error) or type(error).__name__}") from None
    if dtype.kind not in "fiu":
        raise InputError(f"the array holds {dtype}: send float or integer numbers (Objects would be pickles: refused)")
    if len(shape) != MAX_DIMENSIONS or any(size < 0 for size in shape):
        raise InputError(f"the array has shape {shape}, expected (rows, columns)")
    offset = file.tell()
    if math.prod(shape) * dtype.itemsize != len(body) - offset:
        raise InputError(f"the header says {shape} of {dtype}, {len(body) - offset} bytes follow: cut short or damaged")
    array = np.frombuffer(body, dtype, offset=offset).reshape(shape, order="F" if fortran else "C")
    with np.errstate(over="ignore"):
        return array.astype(np.float64)


def write(array: Any) -> bytes:
    """A one-dimensional array as an .npy file."""
    file = io.BytesIO()
    npy_format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()
