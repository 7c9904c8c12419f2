"""BentoML, one worker, adaptive batching."""

from __future__ import annotations

import bentoml
from network import predict


@bentoml.service(workers=1, traffic={"timeout": 30}, logging={"access": {"enabled": False}}, metrics={"enabled": True})
class Peer:
    """The rows of one request, or of several as one list."""

    @bentoml.api(route="/invocations", batchable=True, max_batch_size=4096, max_latency_ms=1000)
    def invocations(self, instances: list[list[float]]) -> list[float]:
        """Predict."""
        return predict(instances)
