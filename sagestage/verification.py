"""`sagestage verify`: whether each endpoint runs the configuration that the stack's state names.

An update that SageMaker rolls back ends without an error: Pulumi's state then has the new configuration, and the
endpoint runs the old one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.markup import escape

from sagestage import aws, output, stackfile
from sagestage.errors import SagestageError
from sagestage.project import Project

ENDPOINT = "aws:sagemaker/endpoint:Endpoint"
Describe = Callable[[str], Mapping[str, Any] | None]
"""An endpoint's name -> what DescribeEndpoint answers, or None where there is no such endpoint."""


class VerificationError(SagestageError):
    """An endpoint does not run what was deployed."""

    exit_code = 6


@dataclass(frozen=True)
class Verdict:
    """One endpoint: what it should run, what it runs, and `problem`, which is empty when all is well."""

    endpoint: str
    desired: str
    runs: str
    status: str
    problem: str = ""


def verdicts(resources: Iterable[Mapping[str, Any]], describe: Describe) -> list[Verdict]:
    """A verdict on each endpoint among the resources of a checkpoint."""
    return [
        judge(
            str(each["id"]), str((each.get("outputs") or {}).get("endpointConfigName", "")), describe(str(each["id"]))
        )
        for each in resources
        if each["type"] == ENDPOINT and not each.get("external") and not each.get("delete")
    ]


def judge(endpoint: str, desired: str, found: Mapping[str, Any] | None) -> Verdict:
    """What the description of an endpoint means for who wants it to run `desired`."""
    if found is None:
        return Verdict(endpoint, desired, "", "", "it does not exist: run `refresh`, then `up`")
    runs, status = str(found.get("EndpointConfigName", "")), str(found.get("EndpointStatus", ""))
    reason = str(found.get("FailureReason") or "SageMaker gives no reason")
    if status != "InService":
        return Verdict(endpoint, desired, runs, status, f"it is {status}: {reason}")
    if runs != desired:
        return Verdict(endpoint, desired, runs, status, f"rolled back: it runs {runs}, not {desired}: {reason}")
    return Verdict(endpoint, desired, runs, status)


def describer(sagemaker: Any) -> Describe:
    """DescribeEndpoint through a boto3 client."""
    from botocore.exceptions import ClientError

    def describe(name: str) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = sagemaker.describe_endpoint(EndpointName=name)
        except ClientError as error:
            if "could not find" in str(error).lower():
                return None
            raise SagestageError(f"endpoint {name}: {error}") from error
        return found

    return describe


def run(project: Project, stack: str, *, on: str | None, as_json: bool) -> None:
    """Verify a stack and show the verdicts.

    Raises:
        VerificationError: an endpoint does not run what the state names.
    """
    from sagestage import engines, on_aws
    from sagestage.operations import export_state

    config = stackfile.read(project.root, stack)
    if engines.choose(on, stack, config) == engines.AWS:
        found = verdicts(on_aws.resources(project, stack), describer(on_aws.sagemaker(config)))
    else:
        resources = json.loads(export_state(project, stack))["deployment"].get("resources") or []
        found = verdicts(
            resources, describer(aws.client(aws.running_cloud(project, config.get("aws:region")), "sagemaker"))
        )
    if as_json:
        output.print_json({"endpoints": [asdict(each) for each in found]})
    else:
        show(found)
    refuse(found)


def show(found: Sequence[Verdict]) -> None:
    """Print the verdicts."""
    console = output.console()
    for each in found:
        told = escape(each.problem or f"runs {each.runs}, as deployed")
        console.print(f"{escape(each.endpoint)}: {told}", highlight=False, soft_wrap=True)
    if not found:
        console.print("The stack has no endpoints.")


def refuse(found: Iterable[Verdict]) -> None:
    """Make an error of bad verdicts.

    Raises:
        VerificationError: an endpoint does not run what the state names.
    """
    bad = "; ".join(f"{each.endpoint}: {each.problem}" for each in found if each.problem)
    if bad:
        raise VerificationError(f"not as deployed: {bad}")
