"""The connection to the embedded AWS: botocore clients, made once, that never look at the environment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's own name
    HTTPClientError,
    ParamValidationError,
    ReadTimeoutError,
)

from infra.provider.config import Settings
from infra.provider.errors import AwsError, CancelledError, ProviderError, UnreachableError
from infra.provider.shapes import isolated_session
from infra.provider.waiting import retry_after_s

ClientFactory = Callable[[str, str], Any]
READ_TIMEOUT_S = 120  # one call; what takes longer in AWS answers at once and is waited for by describing it


class Aws:
    """Calls by service and operation name, in botocore's spelling. Safe to use from several threads.

    `client` makes a botocore client for (service, region); `clock` and `pause` are for tests: seconds that pass, and
    waiting for so many seconds, true when it was cut short.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        client: ClientFactory | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], bool] | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self._stop = threading.Event()
        self._pause = self._stop.wait if pause is None else pause
        self._make = self._client if client is None else client
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def call(
        self, service: str, operation: str, params: Mapping[str, Any], *, region: str | None = None
    ) -> dict[str, Any]:
        """One API call; repeated within bounds where the refusal passes by itself (see `waiting`).

        Raises:
            AwsError: the service refused.
            UnreachableError: nothing answers at the configured address.
            CancelledError: the engine stopped the provider.
        """
        started, attempt = self.clock(), 0
        while True:
            try:
                return self._once(service, operation, params, region or self.settings.region)
            except AwsError as error:
                wait_s = retry_after_s(error, attempt, self.clock() - started)
                if wait_s is None:
                    raise
            attempt += 1
            self.pause(wait_s)

    def pause(self, seconds: float) -> None:
        """Let so many seconds pass.

        Raises:
            CancelledError: the engine stopped the provider meanwhile.
        """
        if self._pause(seconds):
            raise CancelledError("stopped while waiting for AWS: run the same command again to go on")

    def cancel(self) -> None:
        """End all waiting, now and from now on."""
        self._stop.set()

    def _once(self, service: str, operation: str, params: Mapping[str, Any], region: str) -> dict[str, Any]:
        client = self._cached(service, region)
        try:
            answer: dict[str, Any] = client._make_api_call(operation, dict(params))  # noqa: SLF001 - what every method calls
        except ClientError as error:
            said = error.response.get("Error", {})
            raise AwsError(service, operation, said.get("Code", "Unknown"), said.get("Message", str(error))) from error
        except ParamValidationError as error:
            raise AwsError(service, operation, "ParamValidation", str(error)) from error
        except (ConnectionError, HTTPClientError) as error:
            url = self.settings.endpoint(service)
            late = isinstance(error, ReadTimeoutError)
            what = f"{operation} within {READ_TIMEOUT_S} s" if late else f"{operation} ({type(error).__name__})"
            remedy = "try again when it answers" if late else "`sagestage cloud start` starts the cloud"
            raise UnreachableError(f"no answer from {service} at {url} to {what}: {remedy}") from error
        except BotoCoreError as error:
            raise ProviderError(f"{service} {operation}: {error}") from error
        answer.pop("ResponseMetadata", None)
        return answer

    def _cached(self, service: str, region: str) -> Any:
        with self._lock:  # a session is not safe to make clients from in several threads
            key = (service, region)
            if key not in self._clients:
                self._clients[key] = self._make(service, region)
            return self._clients[key]

    def _client(self, service: str, region: str) -> Any:
        return isolated_session().create_client(
            service,
            region_name=region,
            endpoint_url=self.settings.endpoint(service),
            aws_access_key_id=self.settings.access_key,
            aws_secret_access_key=self.settings.secret_key,
            config=Config(
                # A missing operation answers 500, and botocore would repeat it: what deserves it is repeated above.
                retries={"total_max_attempts": 1, "mode": "standard"},
                read_timeout=READ_TIMEOUT_S,
                connect_timeout=5,
                max_pool_connections=32,
                proxies={},  # loopback only: a proxy of the user's must not see the calls
                s3={"addressing_style": "path"},  # bucket.127.0.0.1 is no host name
            ),
        )
