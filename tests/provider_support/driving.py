"""Driving the provider as an engine does, without an engine."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from pulumi.provider.experimental import provider as p
from pulumi.provider.experimental.property_value import PropertyValue

from infra.provider.provider import AwsProvider
from infra.provider.values import Properties, plain_map, property_map

T = TypeVar("T")
SERVICES = ("appautoscaling", "cloudwatch", "iam", "kms", "s3", "sagemaker", "sns", "sts", "ecr", "logs", "budgets")
MODEL = "aws:sagemaker/model:Model"
CONFIGURATION = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
ENDPOINT = "aws:sagemaker/endpoint:Endpoint"
ROLE = "aws:iam/role:Role"
BUCKET = "aws:s3/bucket:Bucket"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"


def urn(kind: str, name: str = "it") -> str:
    return f"urn:pulumi:dev::trial::sagestage:index:Endpoint${kind}::{name}"


def wait(job: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(job)


class Driver:
    """A configured provider; every method is one call of an engine, with plain values."""

    def __init__(
        self, url: str = "http://127.0.0.1:1", client: Callable[[str, str], Any] | None = None, **more: Any
    ) -> None:
        self.provider = AwsProvider(client=client)
        self.configure(url, **more)

    def configure(self, url: str, **more: Any) -> None:
        """Configure as the engine does: structured values as JSON text."""
        given = {"region": "us-east-1", "accessKey": "a", "secretKey": "b"}
        given["endpoints"] = json.dumps([dict.fromkeys(SERVICES, url)])
        args = property_map({**given, **{name: json.dumps(value) for name, value in more.items()}})
        wait(self.provider.configure(p.ConfigureRequest({}, args, accept_secrets=True, accept_resources=True)))

    def check(self, kind: str, news: Properties, olds: Properties | None = None, name: str = "it") -> p.CheckResponse:
        request = p.CheckRequest(urn(kind, name), property_map(olds or {}), property_map(news), b"seed")
        return wait(self.provider.check(request))

    def checked(self, kind: str, news: Properties, olds: Properties | None = None, name: str = "it") -> Properties:
        """Inputs that pass."""
        answer = self.check(kind, news, olds, name)
        assert not answer.failures, [(each.property, each.reason) for each in answer.failures]
        return plain_map(answer.inputs or {})

    def problems(self, kind: str, news: Properties) -> dict[str, str]:
        return {each.property: each.reason for each in self.check(kind, news).failures or []}

    def diff(self, kind: str, state: Properties, news: Properties, ignore: tuple[str, ...] = ()) -> p.DiffResponse:
        request = p.DiffRequest(urn(kind), "id", property_map(state), property_map(news), list(ignore))
        return wait(self.provider.diff(request))

    def create(
        self, kind: str, inputs: Mapping[str, PropertyValue] | Properties, *, preview: bool = False, timeout: float = 0
    ) -> tuple[str | None, Properties]:
        answer = wait(self.provider.create(p.CreateRequest(urn(kind), raw(inputs), timeout, preview)))
        return answer.resource_id, plain_map(answer.properties)

    def read(self, kind: str, made: str, state: Properties, inputs: Properties) -> p.ReadResponse:
        return wait(self.provider.read(p.ReadRequest(urn(kind), made, property_map(state), property_map(inputs))))

    def update(
        self, kind: str, made: str, olds: Properties, news: Properties, *, preview: bool = False, timeout: float = 0
    ) -> Properties:
        request = p.UpdateRequest(urn(kind), made, property_map(olds), property_map(news), timeout, [], preview)
        return plain_map(wait(self.provider.update(request)).properties)

    def delete(self, kind: str, made: str, state: Properties) -> None:
        wait(self.provider.delete(p.DeleteRequest(urn(kind), made, property_map(state), 0)))

    def invoke(self, token: str, **args: Any) -> Properties:
        answer = wait(self.provider.invoke(p.InvokeRequest(token, property_map(args))))
        return plain_map(answer.return_value or {})


def raw(inputs: Mapping[str, Any]) -> dict[str, PropertyValue]:
    if all(isinstance(value, PropertyValue) for value in inputs.values()):
        return dict(inputs)
    return property_map(dict(inputs))


class Script:
    """Stands in for botocore's clients: operation name -> answers in turn (the last one stays) or a function."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, *_: str) -> "Script":
        return self

    def _make_api_call(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((operation, params))
        answer = self.answers[operation]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(params)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    @property
    def operations(self) -> list[str]:
        return [operation for operation, _ in self.calls]
