"""How batch transform splits, filters, joins and assembles."""

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.cloud import batches
from infra.cloud.batches import BatchError, Processing

JSONL = ("application/jsonlines", "application/jsonlines")
CSV = ("text/csv", "text/csv")


def recordio(*contents: bytes) -> bytes:
    return b"".join(struct.pack("<II", 0xCED7230A, len(c)) + c + b"\0" * (-len(c) % 4) for c in contents)


def tfrecords(*contents: bytes) -> bytes:
    return b"".join(struct.pack("<QI", len(c), 0) + c + b"\0\0\0\0" for c in contents)


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=12), st.sampled_from(["one", "many"]), st.integers(20, 60))
def test_every_record_is_sent_once_in_order_and_no_request_is_too_large(
    contents: list[bytes], strategy: str, limit: int
) -> None:
    contents = [content.hex().encode()[:20] for content in contents]
    for split, data in (("Line", b"\n".join(contents)), ("RecordIO", recordio(*contents))):
        parts = batches.records(data, split)
        if split == "RecordIO":
            limit = max(limit, 28)
        groups = batches.payloads(parts, split, single=strategy == "one", limit=limit)
        assert [part for group in groups for part in group] == parts
        assert len(parts) == len(contents)
        assert all(len(batches.body(group, split)) <= limit + 1 for group in groups)
        assert strategy == "many" or all(len(group) == 1 for group in groups)


def test_as_many_records_as_fit_go_into_a_request() -> None:
    parts = [b"1234"] * 5
    assert [len(group) for group in batches.payloads(parts, "Line", single=False, limit=10)] == [2, 2, 1]
    assert [len(group) for group in batches.payloads(parts, "Line", single=False, limit=0)] == [5]


def test_a_record_over_the_limit_and_a_broken_file_are_refused() -> None:
    with pytest.raises(BatchError, match="a record of 11 bytes is larger than MaxPayloadInMB"):
        batches.payloads([b"x" * 11], "Line", single=False, limit=10)
    for split, data in (("RecordIO", recordio(b"one")[:-1]), ("TFRecord", tfrecords(b"one")[:-1]), ("RecordIO", b"no")):
        with pytest.raises(BatchError, match=r"RecordIO|TFRecord"):
            batches.records(data, split)
    assert len(batches.records(tfrecords(b"one", b"", b"three"), "TFRecord")) == 3


@pytest.mark.parametrize(
    ("path", "value", "selected"),
    [
        ("$", {"id": 1}, {"id": 1}),
        ("$.id", {"id": 1, "x": 2}, 1),
        ("$.a.b", {"a": {"b": 3}}, 3),
        ("$['id','x']", {"id": 1, "x": 2, "y": 3}, {"id": 1, "x": 2}),
        ("$.a['b']", {"a": {"b": 3}}, 3),
        ("$.a.*", {"a": {"b": 3, "c": 4}}, [3, 4]),
        ("$[0]", ["a", "b"], "a"),
        ("$[-1]", ["a", "b"], "b"),
        ("$[0,2]", ["a", "b", "c"], ["a", "c"]),
        ("$[1:]", ["a", "b", "c"], ["b", "c"]),
        ("$[:-1]", ["a", "b", "c"], ["a", "b"]),
    ],
)
def test_json_paths(path: str, value: Any, selected: Any) -> None:
    assert batches.select(value, path) == selected


@pytest.mark.parametrize(("path", "value"), [("$.no", {}), ("$[5]", [1]), ("id", {}), ("$..x", {}), ("$[a]", [1])])
def test_a_path_that_leads_nowhere_is_refused(path: str, value: Any) -> None:
    with pytest.raises(BatchError, match="JSONPath"):
        batches.select(value, path)


def test_an_id_column_is_kept_from_the_model_and_joined_with_its_answer() -> None:
    parts = [b'7,"a, b",3', b"8,c,4"]
    assert batches.filtered(parts, "text/csv", "$[1:]") == [b'"a, b",3', b"c,4"]
    how = Processing(sent="$[1:]", kept="$[0,-1]", joined=True)
    assert batches.joined(parts, b"0.5\n0.75\n", CSV, how) == b"7,0.5\n8,0.75"


def test_json_lines_are_joined_under_the_reserved_names() -> None:
    how = Processing(joined=True)
    made = batches.joined([b'{"key":1}', b"[2]"], b'{"label":1}\n{"label":2}', JSONL, how)
    assert [json.loads(line) for line in made.splitlines()] == [
        {"key": 1, "SageMakerOutput": {"label": 1}},
        {"SageMakerInput": [2], "SageMakerOutput": {"label": 2}},
    ]
    kept = Processing(kept="$['id','SageMakerOutput']", joined=True)
    one = batches.joined([b'{"id":5,"features":[1]}'], b"0.5", JSONL, kept)
    assert json.loads(one) == {"id": 5, "SageMakerOutput": 0.5}


def test_answers_that_do_not_match_their_records_are_refused() -> None:
    with pytest.raises(BatchError, match="2 records were sent and 1 came back"):
        batches.joined([b"1", b"2"], b"0.5", CSV, Processing(joined=True))


def test_answers_are_assembled_a_line_each_or_as_they_are() -> None:
    assert batches.assembled([b"1", b"2\n"], "Line") == b"1\n2\n"
    assert batches.assembled([b"1", b"2"], "None") == b"12"
