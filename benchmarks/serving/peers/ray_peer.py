"""Ray Serve, one replica, @serve.batch."""

from __future__ import annotations

import os
import signal

import orjson
import ray
from network import predict
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(num_replicas=1, max_ongoing_requests=256, ray_actor_options={"num_cpus": 0})
class Peer:
    """Rows of several requests in one forward pass."""

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.001)
    async def together(self, requests: list[list[list[float]]]) -> list[list[float]]:
        """Predict."""
        values = predict([row for rows in requests for row in rows])
        parts, start = [], 0
        for rows in requests:
            parts.append(values[start : start + len(rows)])
            start += len(rows)
        return parts

    async def __call__(self, request: Request) -> Response:
        """One request."""
        rows = orjson.loads(await request.body())["instances"]
        return Response(orjson.dumps({"predictions": await self.together(rows)}), media_type="application/json")


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(Peer.bind(), route_prefix="/invocations", name="peer")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()
