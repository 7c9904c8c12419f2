"""What a caller of the runtime may send, and the errors that it gets in return: pure."""

from collections.abc import Mapping

from infra.cloud.errors import AwsError
from infra.cloud.moto_app import ACCOUNT
from infra.cloud.records import Endpoint, Variant

Headers = Mapping[str, str]

BODY_LIMIT = 6_291_456  # bytes; botocore: InvokeEndpointInput.Body max
SERVERLESS_BODY_LIMIT = 4 * 1024 * 1024  # bytes; SageMaker developer guide, serverless endpoints: 4 MB
ATTRIBUTES_LIMIT = 1024  # characters; botocore: CustomAttributesHeader max
INFERENCE_ID_LIMIT = 64  # characters; botocore: InferenceId max

ACCEPT = "X-Amzn-SageMaker-Accept"
CONTENT_TYPE = "X-Amzn-SageMaker-Content-Type"
CUSTOM = "X-Amzn-SageMaker-Custom-Attributes"
INFERENCE_ID = "X-Amzn-SageMaker-Inference-Id"
TARGET_VARIANT = "X-Amzn-SageMaker-Target-Variant"
TARGET_MODEL = "X-Amzn-SageMaker-Target-Model"
SESSION = "X-Amzn-SageMaker-Session-Id"
NEW_SESSION = "X-Amzn-SageMaker-New-Session-Id"
CLOSED_SESSION = "X-Amzn-SageMaker-Closed-Session-Id"

FORWARDED = ("Content-Type", "Accept", CUSTOM, INFERENCE_ID, TARGET_MODEL, SESSION)
"""What a container is sent of a caller's headers."""
RETURNED = (CUSTOM, NEW_SESSION, CLOSED_SESSION)
"""What a caller is sent of a container's headers, beside the content type."""
_UNSUPPORTED = {
    "X-Amzn-SageMaker-Target-Container-Hostname": "multi-container endpoints",
    "X-Amzn-SageMaker-Inference-Component": "inference components",
}


def check(headers: Headers, length: int | None) -> None:
    """Refuse what the service refuses before it looks at the endpoint.

    Raises:
        AwsError: ValidationError, or 413 for a body over the limit.
    """
    if length is not None and length > BODY_LIMIT:
        raise too_large()
    for name, limit in ((CUSTOM, ATTRIBUTES_LIMIT), (INFERENCE_ID, INFERENCE_ID_LIMIT)):
        value = headers.get(name, "")
        if len(value) > limit:
            raise AwsError(
                "ValidationError",
                f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint:"
                f" Member must have length less than or equal to {limit}",
            )
    for name, what in _UNSUPPORTED.items():
        if name in headers:
            raise AwsError("ValidationError", f"{name}: {what} are not supported by the embedded cloud.")


def renamed(headers: Headers) -> dict[str, str]:
    """The headers of a streamed or asynchronous call, which has some under names of its own, as InvokeEndpoint's."""
    names = {CONTENT_TYPE: "Content-Type", ACCEPT: "Accept"}
    kept = {name: headers[name] for name in FORWARDED if name in headers}
    # The caller's own Accept and Content-Type are of the call, not of its payload.
    return kept | {to: headers[come] for come, to in names.items() if come in headers}


def too_large(limit: int = BODY_LIMIT) -> AwsError:
    """A body over the limit."""
    return AwsError("", f"HTTP content length exceeded {limit} bytes.", 413)


def none_healthy(endpoint: Endpoint, variant: Variant) -> AwsError:
    """No instance can take the request."""
    text = f"Variant {variant.name} of endpoint {endpoint.name} has no healthy instance."
    return AwsError("ServiceUnavailable", text, 503)


def throttled(endpoint: Endpoint, variant: Variant, most: int) -> AwsError:
    """A serverless variant has its hands full."""
    text = f"Rate exceeded: variant {variant.name} of {endpoint.name} has {most} concurrent invocations."
    return AwsError("ThrottlingException", text, 429)


def model_error(endpoint: Endpoint, status: int, body: bytes) -> AwsError:
    """What the container answered, when that is an error; status 0 is no whole answer."""
    kind = "client" if 400 <= status < 500 else "server"
    text = body.decode(errors="replace")
    said = f'with message "{text}"' if text else "and could not load the entire response body"
    group = f"/aws/sagemaker/Endpoints/{endpoint.name}"
    console = f"https://{endpoint.region}.console.aws.amazon.com/cloudwatch/home?region={endpoint.region}"
    return AwsError(
        "ModelError",
        f"Received {kind} error ({status}) from primary {said}. See {console}#logEventViewer:group={group}"
        f" in account {ACCOUNT} for more information.",
        424,
        {
            "OriginalStatusCode": status,
            "OriginalMessage": text,
            "LogStreamArn": f"arn:aws:logs:{endpoint.region}:{ACCOUNT}:log-group:{group}",
        },
    )
