"""What the front costs: calls straight to an instance and through the front, side by side in one run.

`python benchmarks/cloud/front.py [--seconds 3] [--rounds 3]` starts a cloud of its own with one instance of the
inference server (numpy predictor), alternates between both addresses, and prints the medians as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sagestage.load import requests_per_second
from tests.cloud_support.helpers import fetch_status, running
from tests.inference_support import artifacts

SINGLE = 300


def median_ms(client: httpx.Client, url: str, body: bytes) -> float:
    """The median time of an answer over one connection, in milliseconds."""
    times = []
    for _ in range(SINGLE):
        begin = time.perf_counter()
        client.post(url, content=body, headers={"Content-Type": "application/json"}).raise_for_status()
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = artifacts.make(artifacts.transform(history=False))
        artifacts.pack(model, Path(folder) / "model.tar.gz")
        archive = (Path(folder) / "model.tar.gz").read_bytes()
        body = json.dumps({"instances": artifacts.instances(model.manifest.transform, 1)}).encode()
        with running(Path(folder) / "cloud", serve_command=None) as cloud:
            digest = hashlib.sha256(archive).hexdigest()
            config = cloud.config([{"ModelName": cloud.model({"SAGESTAGE_MODEL_SHA256": digest}, archive=archive)}])
            begin = time.perf_counter()
            name = cloud.endpoint(config)
            started = time.perf_counter() - begin
            (found,) = fetch_status(cloud.info.url)["endpoints"]
            port = found["variants"][0]["processes"][0]["port"]
            urls = {
                "instance": f"http://127.0.0.1:{port}/invocations",
                "front": f"{cloud.info.url}/endpoints/{name}/invocations",
            }
            single: dict[str, list[float]] = {who: [] for who in urls}
            many: dict[str, list[float]] = {who: [] for who in urls}
            with httpx.Client() as client:
                for _ in range(options.rounds):
                    for who, url in urls.items():
                        single[who].append(median_ms(client, url, body))
                        many[who].append(requests_per_second(url, body, seconds=options.seconds))
    medians = {who: statistics.median(values) for who, values in single.items()}
    sys.stdout.write(
        json.dumps(
            {
                "rounds": options.rounds,
                "processors": os.cpu_count(),
                "load_average": os.getloadavg()[0],
                "bytes": len(body),
                "seconds_to_in_service": round(started, 2),
                "median_ms_at_1_connection": {who: round(value, 2) for who, value in medians.items()},
                "front_adds_ms": round(medians["front"] - medians["instance"], 2),
                "requests_a_second_at_32_connections": {
                    who: round(statistics.median(values)) for who, values in many.items()
                },
            },
            indent=2,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
