"""What can go wrong in the provider, each as one line that a user can act on."""


class ProviderError(Exception):
    """A problem whose message is one line for the user: what happened to what, and what to do."""


class ConfigurationError(ProviderError):
    """The provider's configuration is incomplete, malformed, or leads away from this machine."""


class CancelledError(ProviderError):
    """The engine asked the provider to stop while it was waiting."""


class UnreachableError(ProviderError):
    """Nothing answers at the configured address; what was asked for may have been done, or not."""

    uncertain = True


class DeploymentError(ProviderError):
    """AWS accepted the call, and what it then did is not what was asked for (Failed, rolled back, too late)."""


class AwsError(ProviderError):
    """AWS refused a call.

    `code` and `detail` are the service's own; the message puts service and operation before them.
    """

    def __init__(self, service: str, operation: str, code: str, detail: str) -> None:
        self.service = service
        self.operation = operation
        self.code = code
        self.detail = "this cloud cannot do it" if "<html" in detail.lower() else " ".join(detail.split())
        super().__init__(f"{service} {operation}: {code}: {self.detail}")

    @property
    def missing(self) -> bool:
        """Whether the call failed because the thing it names does not exist (each service says it its own way)."""
        if self.code.startswith("NoSuch") or "NotFound" in self.code:
            return True
        if self.code in {"ValidationException", "ValidationError"}:  # SageMaker and its neighbours have one code
            detail = self.detail.lower()
            return "could not find" in detail or "does not exist" in detail or "no scalable target" in detail
        return self.code == "404"

    @property
    def unimplemented(self) -> bool:
        """Whether the embedded cloud lacks the operation: it then answers with a server error."""
        return self.code in {"500", "501", "NotImplemented", "InternalFailure", "InternalError", "UnknownOperation"}

    @property
    def throttled(self) -> bool:
        """Whether the service asked to be called less often."""
        return "Throttl" in self.code or self.code in {"TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}

    @property
    def busy(self) -> bool:
        """Whether the endpoint that is to be changed or deleted is just being changed."""
        return self.code == "ValidationException" and "in-progress endpoint" in self.detail

    @property
    def role_pending(self) -> bool:
        """Whether a role that was just made is not yet known to the service that is to assume it."""
        detail = self.detail.lower()
        return "role" in detail and any(
            said in detail for said in ("could not assume", "cannot assume", "cannot be assumed", "unable to assume")
        )
