import asyncio
import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.cloud import capture
from infra.cloud.capture import Capture, CaptureConfig, Exchange, object_key, record

SEEDED = random.Random
MOMENT = datetime(2026, 3, 4, 5, 6, 7, 89_000, tzinfo=UTC)
API: dict[str, Any] = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 20,
    "DestinationS3Uri": "s3://bucket/some/prefix/",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
}


def parse(**changes: Any) -> CaptureConfig:
    config = CaptureConfig.parse(API | changes)
    assert config is not None
    return config


def exchange(body: bytes = b"{}", kind: str = "application/json") -> Exchange:
    return Exchange("e-1", MOMENT, body, kind, b"1\n", "text/csv")


def test_capture_that_is_off_is_none() -> None:
    assert CaptureConfig.parse(None) is None
    assert CaptureConfig.parse(API | {"EnableCapture": False}) is None


def test_the_key_carries_endpoint_variant_and_hour() -> None:
    assert object_key(parse(), "e", "v", MOMENT, "f") == "some/prefix/e/v/2026/03/04/05/f.jsonl"
    assert object_key(parse(DestinationS3Uri="s3://bucket"), "e", "v", MOMENT, "f") == "e/v/2026/03/04/05/f.jsonl"


def test_only_the_declared_side_is_captured() -> None:
    line = json.loads(record(parse(CaptureOptions=[{"CaptureMode": "Output"}]), exchange()))
    assert set(line["captureData"]) == {"endpointOutput"}


@pytest.mark.parametrize(
    ("body", "kind", "encoding", "data"),
    [
        (b'{"a":1}', "application/json", "JSON", '{"a":1}'),
        (b"1,2", "Text/CSV; charset=utf-8", "CSV", "1,2"),
        (b"1,2", "text/plain", "BASE64", "MSwy"),
        (b"\xff", "text/csv", "BASE64", "/w=="),
        (b"x", "", "BASE64", "eA=="),
    ],
)
def test_what_is_not_declared_text_is_base64(body: bytes, kind: str, encoding: str, data: str) -> None:
    side = json.loads(record(parse(), exchange(body, kind)))["captureData"]["endpointInput"]
    assert side == {"observedContentType": kind, "mode": "INPUT", "data": data, "encoding": encoding}


@given(st.binary(max_size=40))
def test_every_record_is_one_line(body: bytes) -> None:
    assert b"\n" not in record(parse(), exchange(body))


@pytest.mark.parametrize(("percent", "least", "most"), [(0, 0, 0), (20, 140, 262), (100, 1000, 1000)])
def test_the_sampled_share_is_the_declared_one(percent: int, least: int, most: int) -> None:
    # 140 to 262 contains the 99.9 % binomial interval of 1000 draws at 0.2.
    made = Capture(parse(InitialSamplingPercentage=percent), "e", lambda *_: None, SEEDED(3))
    assert least <= sum(made.sampled() for _ in range(1000)) <= most


def test_size_flushes_at_once_and_closing_flushes_the_rest() -> None:
    written: list[tuple[str, str, bytes, str]] = []
    big = b"x" * capture.FLUSH_BYTES

    async def run() -> None:
        made = Capture(parse(), "e", lambda *call: written.append(call), SEEDED(0))
        made.add("a", exchange(big, "text/csv"))
        made.add("a", exchange())
        made.add("b", exchange())
        await made.close()

    asyncio.run(run())
    assert sorted((bucket, key.split("/")[3], body.count(b"\n")) for bucket, key, body, _ in written) == [
        ("bucket", "a", 1),
        ("bucket", "a", 1),
        ("bucket", "b", 1),
    ]


def test_a_missing_bucket_costs_the_records_only() -> None:
    def refuse(*_: object) -> None:
        raise OSError("NoSuchBucket")

    async def run() -> Capture:
        made = Capture(parse(), "e", refuse, SEEDED(0))
        made.add("a", exchange())
        await made.close()
        return made

    assert asyncio.run(run()).dropped == 1
