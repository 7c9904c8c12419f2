"""npy, Arrow and Parquet bodies with bytes changed, cut or added: rows come out, or an InputError. Nothing else."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inference.contract import codecs, npy
from inference.contract.errors import InputError
from inference.contract.records import RecordReader
from tests.inference_support import artifacts

READER = RecordReader(artifacts.plain_transform(3))
VALUES = np.random.default_rng(0).normal(size=(40, 3))


def _bodies() -> dict[str, bytes]:
    table = pa.table({f"x{place}": VALUES[:, place] for place in range(3)})
    stream, file = io.BytesIO(), io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    pq.write_table(table, file)
    return {codecs.NPY: npy.write(VALUES), codecs.ARROW: stream.getvalue(), codecs.PARQUET: file.getvalue()}


BODIES = _bodies()


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(sorted(BODIES)),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6),
    st.none() | st.integers(0, 10_000),
    st.binary(max_size=5),
)
@example(codecs.ARROW, [(136, 128)], None, b"")  # a column's name that is no UTF-8
def test_a_damaged_table_is_read_or_refused(
    kind: str, changes: list[tuple[int, int]], cut: int | None, tail: bytes
) -> None:
    body = bytearray(BODIES[kind])
    for place, value in changes:
        body[place % len(body)] = value
    content = bytes(body if cut is None else body[: cut % len(body)]) + tail
    try:
        rows = codecs.decode(content, kind, READER)
    except InputError:
        return
    assert len(rows) >= 1
    assert not np.isinf(rows.values).any()
