"""HTTP requests as WSGI's environment, and WSGI applications' answers as HTTP responses."""

import io
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from aiohttp import web
from moto.core.request import (
    PRESERVED_HEADER_NAMES_ENVIRON_KEY,
    environ_key_for_header,
    should_preserve_original_header_name,
)

PRESERVED = PRESERVED_HEADER_NAMES_ENVIRON_KEY


def respond(app: Any, environ: Mapping[str, Any]) -> web.Response:
    """What an application answers."""
    status = 500
    fields: list[tuple[str, str]] = []

    def start_response(line: str, headers: list[tuple[str, str]], *_: object) -> None:
        nonlocal status, fields
        status, fields = int(line.split(" ", 1)[0]), headers

    chunks: Iterable[bytes] = app(environ, start_response)
    try:
        body = b"".join(chunks)
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
    response = web.Response(status=status, body=body)
    response.headers.popall("Content-Type", None)
    for name, value in fields:
        if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
            response.headers.add(name, value)
    return response


def environ_of(request: web.BaseRequest, body: bytes) -> dict[str, Any]:
    """The request as WSGI's environment (PEP 3333), with what moto's own server adds to it."""
    target = request.raw_path
    path, _, query = target.partition("?")
    host, _, port = request.host.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": target,
        "REQUEST_URI": target,
        "SERVER_NAME": host or request.host,
        "SERVER_PORT": port or "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": request.remote or "127.0.0.1",
    }
    dashed = {environ_key_for_header(name) for name in request.headers if "_" not in name}
    preserved: dict[str, str] = {}
    for name, value in request.headers.items():
        key = environ_key_for_header(name)
        if "_" in name:
            if not should_preserve_original_header_name(name) or key in dashed:
                continue
            preserved.setdefault(key, name)
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    environ[PRESERVED] = preserved
    environ.pop("HTTP_TRANSFER_ENCODING", None)  # the body is whole by now
    environ["CONTENT_LENGTH"] = str(len(body))
    return with_body(environ, body)


def with_body(environ: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    """An environment with what an application reads a body from."""
    return {
        **environ,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
