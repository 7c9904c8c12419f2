"""Coverage-guided fuzzing of the codecs: `make fuzz`, or python tests/fuzz/codecs.py CORPUS -max_total_time=600.

The first byte chooses the content type, the rest is the body. Every body is read, or refused with an InputError;
whatever else is raised ends the run, and libFuzzer writes the body that did it. New bodies that reach new code go
into CORPUS; valid ones to begin with are written there.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402  # after the path
import orjson  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

with atheris.instrument_imports(include=["inference.contract"]):
    from inference.contract import arrow, codecs, npy  # noqa: F401  # arrow: loaded here, it is instrumented
    from inference.contract.errors import InputError
    from inference.contract.records import RecordReader

from tests.inference_support import artifacts  # noqa: E402

MIXED, PLAIN = artifacts.transform(), artifacts.plain_transform(3)
READERS = {codecs.NPY: RecordReader(PLAIN)}
OTHERS = RecordReader(MIXED)
TYPES = codecs.READABLE


def one(data: bytes) -> None:
    """Read one body."""
    if not data:
        return
    content_type = TYPES[data[0] % len(TYPES)]
    reader = READERS.get(content_type, OTHERS)
    try:
        rows = codecs.decode(data[1:], content_type, reader)
    except InputError:
        return
    if np.isinf(rows.values).any() or not len(rows):
        raise AssertionError(f"{content_type}: rows that a model must not see")


def seeds(directory: Path) -> None:
    """Valid bodies of every type."""
    directory.mkdir(parents=True, exist_ok=True)
    instances = artifacts.instances(MIXED, 3)
    plain = [one["row"] for one in instances]
    table = pa.table({name: [row[name] for row in plain] for name in OTHERS.input_names})
    stream, file = io.BytesIO(), io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    pq.write_table(table, file)
    bodies = {
        codecs.JSON: orjson.dumps({"instances": instances}),
        codecs.JSON_LINES: b"\n".join(map(orjson.dumps, plain)),
        codecs.CSV: "\n".join(",".join(map(str, row.values())) for row in plain).encode(),
        codecs.NPY: npy.write(np.array(artifacts.instances(PLAIN, 4))),
        codecs.ARROW: stream.getvalue(),
        codecs.PARQUET: file.getvalue(),
    }
    for number, content_type in enumerate(TYPES):
        (directory / f"seed-{number}").write_bytes(bytes([number]) + bodies[content_type])


if __name__ == "__main__":
    seeds(Path(sys.argv[1]))
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
