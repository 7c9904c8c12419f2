"""FastAPI as its tutorial has it: a pydantic body; uvicorn with uvloop and httptools, no access log."""

from __future__ import annotations

import os

import uvicorn
from fastapi import FastAPI
from network import predict
from pydantic import BaseModel


class Request(BaseModel):
    """The rows."""

    instances: list[list[float]]


class Answer(BaseModel):
    """The predictions."""

    predictions: list[float]


app = FastAPI()


@app.post("/invocations")
async def invocations(request: Request) -> Answer:
    """Predict."""
    return Answer(predictions=predict(request.instances))


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(os.environ["PORT"]), loop="uvloop", http="httptools",
        access_log=False, log_level="warning",
    )  # fmt: skip
