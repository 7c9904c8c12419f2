"""FastAPI with orjson and sagestage's own model: validation, transform and predictor, without its server."""

from __future__ import annotations

import os
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response
from inference.contract import codecs
from inference.model import load
from inference.settings import Settings

model = load(Path(os.environ["BENCH_MODEL"]), Settings(predictor="numpy"))
app = FastAPI()


@app.post("/invocations")
async def invocations(request: Request) -> Response:
    """Decode, predict, encode."""
    rows = codecs.decode(await request.body(), codecs.JSON, model.reader)
    answer = codecs.encode(model.predict(rows), codecs.JSON, version=model.version, latency_ms=0.0)
    return Response(answer, media_type=codecs.JSON)


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(os.environ["PORT"]), loop="uvloop", http="httptools",
        access_log=False, log_level="warning",
    )  # fmt: skip
