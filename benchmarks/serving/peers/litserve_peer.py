"""LitServe with dynamic batching, one worker, as its performance guide has it."""

from __future__ import annotations

import os

import litserve as ls
from network import predict


class Api(ls.LitAPI):
    """Rows of several requests in one forward pass."""

    def setup(self, device):
        """The model is loaded on import."""

    def decode_request(self, request):
        """The rows."""
        return request["instances"]

    def batch(self, inputs):
        """All rows, and how many each request has."""
        return [row for rows in inputs for row in rows], [len(rows) for rows in inputs]

    def predict(self, batch):
        """Predict; a request alone is not batched."""
        rows, counts = batch if isinstance(batch, tuple) else (batch, None)
        values = predict(rows)
        return (values, counts) if counts is not None else values

    def unbatch(self, output):
        """Each request's own."""
        values, counts = output
        parts, start = [], 0
        for count in counts:
            parts.append(values[start : start + count])
            start += count
        return parts

    def encode_response(self, output):
        """The answer."""
        return {"predictions": output}


if __name__ == "__main__":
    batching = {"max_batch_size": 32, "batch_timeout": 0.001}
    try:
        api, rest = Api(**batching, api_path="/invocations"), {}
    except TypeError:  # before 0.3 the server took them
        api, rest = Api(), batching | {"api_path": "/invocations"}
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=30, **rest)
    server.run(
        host="127.0.0.1", port=int(os.environ["PORT"]), num_api_servers=1, generate_client_file=False, log_level="error"
    )
