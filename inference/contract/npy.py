"""numpy's own file format, read without trust: no pickles, and no memory is taken before the sizes agree."""

from __future__ import annotations

import ast
import io
import math
import re
import struct
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from inference.contract.errors import InputError
from inference.contract.schema import Floats

MAGIC = b"\x93NUMPY"
LENGTHS = {b"\x01\x00": "<H", b"\x02\x00": "<I"}
"""How the header's length is written in each version of the format that anyone writes."""
MAX_HEADER = 4_096
NUMBERS = re.compile(r"[<>=|]?(f[248]|[iu][1248])")
MAX_DIMENSIONS = 2


def read(body: bytes | memoryview) -> Floats:
    """The array as float64, shape (rows, columns); it may lie in the body itself, and is then read-only.

    Raises:
        InputError: not an .npy file, cut short, or not a two-dimensional array of numbers.
    """
    shape, fortran, dtype, offset = _header(body)
    if len(shape) != MAX_DIMENSIONS:
        raise InputError(f"the array has shape {shape}, expected (rows, columns)")
    if math.prod(shape) * dtype.itemsize != len(body) - offset:
        raise InputError(f"the header says {shape} of {dtype}, {len(body) - offset} bytes follow: cut short or damaged")
    array = np.frombuffer(body, dtype, offset=offset).reshape(shape, order="F" if fortran else "C")
    with np.errstate(over="ignore"):
        return array.astype(np.float64, order="C", copy=False)


def _header(body: bytes | memoryview) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, order, type, and where the numbers begin. numpy's own reader lets other exceptions through."""
    magic = bytes(body[:8])
    layout = LENGTHS.get(magic[6:])
    if not magic.startswith(MAGIC) or layout is None or len(body) < 8 + struct.calcsize(layout):
        raise InputError("not a readable .npy file: it does not begin as one")
    begin = 8 + struct.calcsize(layout)
    (length,) = struct.unpack(layout, body[8:begin])
    if length > MAX_HEADER or begin + length > len(body):
        raise InputError(f"not a readable .npy file: its header of {length} bytes is cut short, or no header")
    return *_described(bytes(body[begin : begin + length])), begin + length


@lru_cache(maxsize=256)  # callers send arrays of few shapes; to parse the text takes as long as to copy 500 rows
def _described(text: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        header = ast.literal_eval(text.decode("latin1").strip())
        shape, fortran, kind = header["shape"], header["fortran_order"], header["descr"]
    except (ValueError, TypeError, SyntaxError, KeyError, MemoryError, RecursionError) as error:
        raise InputError(f"not a readable .npy file: its header is damaged ({type(error).__name__})") from None
    if not (isinstance(kind, str) and NUMBERS.fullmatch(kind)):
        raise InputError(f"the array holds {kind!r}: send float or integer numbers (objects would be pickles: refused)")
    if not (isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)):
        raise InputError(f"the array has shape {shape!r}, expected (rows, columns)")
    return shape, bool(fortran), np.dtype(kind)


def write(array: Any) -> bytes:
    """A one-dimensional array as an .npy file."""
    values = np.ascontiguousarray(array)
    if values.dtype.hasobject:
        raise TypeError(f"{values.dtype} would be pickled")
    return _opening(values.shape, values.dtype) + values.tobytes()


@lru_cache(maxsize=256)
def _opening(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    file = io.BytesIO()
    npy_format.write_array_header_1_0(
        file, {"shape": shape, "fortran_order": False, "descr": npy_format.dtype_to_descr(dtype)}
    )
    return file.getvalue()
