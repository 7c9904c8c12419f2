"""A small serving container for tests of the embedded cloud: /ping and /invocations over real HTTP, on asyncio alone.

The model's files and environment say how it behaves: FAIL_AT_START exits with a message, NEVER_HEALTHY answers 503,
SLOW_S delays every answer, ERRORS makes every n-th a 500. POST /invocations echoes what it was sent, unless the body is
one of the words below.
"""

import asyncio
import itertools
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

ASKED = itertools.count(1)
LEAKED: list[bytes] = []
BROKEN = {  # what is written before the connection is closed
    b"close": b"",
    b"garbage": b"\x00\xff\x17 this is no HTTP\r\n\r\n",
    b"half": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it",
}
MODEL = Path(os.environ["SAGESTAGE_BASE_DIR"]) / "model"


def refused(body: bytes) -> tuple[int, bytes] | None:
    """The errors that a container gives: status and text."""
    if "ERRORS" in os.environ and next(ASKED) % int(os.environ["ERRORS"]) == 0:
        return 500, b"broken"
    match body:
        case b"say more":
            print("more", flush=True)  # noqa: T201 - a container's log
        case b"refuse":
            return 400, b"column 'hour' is missing"
        case b"fail":
            return 500, b"Traceback: no"
        case b"crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case b"leak":
            LEAKED.append(b"x" * int(os.environ.get("LEAK_BYTES", "1")))
    if "LINES" in os.environ and b"bad" in body.splitlines():
        return 400, b"a bad line"
    return None


async def answer(path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    if path == "/ping":
        return (503 if "NEVER_HEALTHY" in os.environ else 200), {}, b""
    if "TELLS" in os.environ:
        print("asked", flush=True)  # noqa: T201 - a container's log
    await asyncio.sleep(float(os.environ.get("SLOW_S", "0")))
    error = refused(body)
    if error is not None:
        return error[0], {"Content-Type": "text/plain"}, error[1]
    if "LINES" in os.environ:  # as many answers as lines, each the line's length
        return 200, {"Content-Type": "text/csv"}, b"".join(b"%d\n" % len(line) for line in body.splitlines())
    shown = {
        "pid": os.getpid(),
        "files": sorted(str(path.relative_to(MODEL)) for path in MODEL.rglob("*") if path.is_file()),
        "environment": {name: os.environ.get(name) for name in ("COLOUR", "SAGEMAKER_BIND_TO_PORT", "SAGESTAGE_HOST")},
        "headers": headers,
        "body": body.decode("latin-1"),
    }
    custom = {"X-Amzn-SageMaker-Custom-Attributes": "answered=1", "X-Private": "stays here"}
    match body:
        case b"begin":
            lasts = timedelta(seconds=float(os.environ.get("SESSION_S", "60")))
            until = f"{datetime.now(UTC) + lasts:%Y-%m-%dT%H:%M:%SZ}"
            custom["X-Amzn-SageMaker-New-Session-Id"] = f"session-{os.getpid()}-{next(ASKED)}; Expires={until}"
        case b"end":
            custom["X-Amzn-SageMaker-Closed-Session-Id"] = headers["x-amzn-sagemaker-session-id"]
    if headers.get("accept") == "text/csv":
        return 200, {"Content-Type": "text/csv"} | custom, b"1.5\n"
    return 200, {"Content-Type": "application/json"} | custom, json.dumps(shown).encode()


async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            _, path, _ = head[0].split(" ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            if body in BROKEN:
                writer.write(BROKEN[body])
                await writer.drain()
                writer.close()
                return
            status, fields, content = await answer(path, headers, body)
            lines = [
                f"HTTP/1.1 {status} X",
                f"Content-Length: {len(content)}",
                *(f"{k}: {v}" for k, v in fields.items()),
            ]
            writer.write("\r\n".join([*lines, "", ""]).encode() + content)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    if "FAIL_AT_START" in os.environ:
        sys.exit(f"model.json is unreadable: {os.environ['FAIL_AT_START']}")
    if "SAYS" in os.environ:
        print(os.environ["SAYS"], flush=True)  # noqa: T201 - a container's log
    host, port = os.environ["SAGESTAGE_HOST"], int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    await asyncio.start_server(connection, host, port)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main())
