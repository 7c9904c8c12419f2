"""`python -m inference serve`: the container's entry point."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

EXAMPLE = """example:
  python -m inference serve --model model.tar.gz --host 127.0.0.1 --port 8080
  curl -s localhost:8080/invocations -H 'content-type: application/json' -d '{"instances": [[1, 2, 3]]}'

Without --model the unpacked model lies in $SAGESTAGE_BASE_DIR/model (default /opt/ml/model). Every setting can be
given by environment variables: SAGEMAKER_BIND_TO_PORT, SAGEMAKER_MAX_PAYLOAD_IN_MB, SAGEMAKER_MODEL_SERVER_TIMEOUT
and others; inference/settings.py lists them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, load, serve; 0 after a clean stop, 1 with one line on stderr when the server cannot start."""
    given = _parser().parse_args(arguments)
    threads = os.environ.get("SAGESTAGE_THREADS") or "1"
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, threads)  # read when numpy is imported, hence the late imports

    from inference import logs, supervisor  # noqa: PLC0415
    from inference.contract.errors import ContractError  # noqa: PLC0415
    from inference.errors import StartError  # noqa: PLC0415
    from inference.settings import from_environment  # noqa: PLC0415

    try:
        settings = from_environment(os.environ, host=given.host, port=given.port)
        logs.configure()
        if (inherited := supervisor.inherited(os.environ)) is None:
            supervisor.supervise(given.model, settings)
        else:
            from inference import worker  # noqa: PLC0415  # the event loop's library: not needed by the supervisor

            worker.work(given.model, settings, inherited)
    except (StartError, ContractError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # the one line
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m inference",
        description="Serve a model on GET /ping and POST /invocations, as a SageMaker container does.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", nargs="?", choices=["serve"], default="serve", help="what to do (default: serve)")
    parser.add_argument("--model", type=Path, metavar="PATH", help="a model.tar.gz, or a directory with its content")
    parser.add_argument("--host", help="address to listen on (SAGESTAGE_HOST, default 0.0.0.0)")
    parser.add_argument("--port", type=int, help="port to listen on (SAGEMAKER_BIND_TO_PORT, default 8080)")
    return parser


def run() -> NoReturn:
    """`main`, then the end of this process, without Python's own clean-up.

    Python would wait for the threads of batches that nobody waits for any more: their callers were told so when the
    time to drain was over. Everything was answered and closed by then.
    """
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
