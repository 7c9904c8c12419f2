"""What hosting remembers: endpoint configurations and endpoints, by region and name."""

import logging

from infra.cloud import lives
from infra.cloud.errors import AwsError, JournalError, invalid
from infra.cloud.journal import Journal
from infra.cloud.records import IN_PROGRESS, Config, Endpoint, arn

DOCUMENT = "hosting"
log = logging.getLogger(__name__)


class Store:
    """Every record, with the service's words for what is missing or there already.

    Args:
        journal: what is kept of them for a life after this one; None keeps nothing.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self.configs: dict[tuple[str, str], Config] = {}
        self.endpoints: dict[tuple[str, str], Endpoint] = {}
        self._journal = journal

    def add(self, endpoint: Endpoint) -> None:
        """Remember an endpoint, and whatever becomes of it."""
        self.endpoints[endpoint.region, endpoint.name] = endpoint
        endpoint.changed = self._try_to_keep

    def remove(self, endpoint: Endpoint) -> None:
        """Forget an endpoint."""
        self.endpoints.pop((endpoint.region, endpoint.name), None)
        self._try_to_keep()

    def keep(self) -> None:
        """Write down what a life after this one needs.

        Raises:
            JournalError: the disk is full, or gone.
        """
        if self._journal is not None:
            self._journal.save(DOCUMENT, lives.written(self.configs.values(), self.endpoints.values()))

    def restore(self) -> list[tuple[Endpoint, lives.Life]]:
        """Take what an earlier life wrote down; its endpoints, and what it takes to bring each back."""
        written = None if self._journal is None else self._journal.load(DOCUMENT)
        if written is None:
            return []
        self.configs = {(config.region, config.name): config for config in lives.configs(written)}
        found = lives.endpoints(written)
        for endpoint, _ in found:
            self.add(endpoint)
        return found

    def _try_to_keep(self) -> None:
        try:
            self.keep()
        except JournalError:  # what happens by itself goes on; calls are refused meanwhile
            log.exception("the journal cannot be written")

    def config(self, region: str, name: str) -> Config:
        """A configuration, or ValidationException."""
        found = self.configs.get((region, name))
        if found is None:
            raise invalid(f'Could not find endpoint configuration "{arn(region, "endpoint-config", name)}".')
        return found

    def endpoint(self, region: str, name: str) -> Endpoint:
        """An endpoint, or ValidationException."""
        found = self.endpoints.get((region, name))
        if found is None:
            raise invalid(f'Could not find endpoint "{arn(region, "endpoint", name)}".')
        return found

    def settled(self, region: str, name: str) -> Endpoint:
        """An endpoint that nothing is being done to, or ValidationException."""
        found = self.endpoint(region, name)
        if found.status in IN_PROGRESS:
            raise invalid(f'Cannot update in-progress endpoint "{found.arn}".')
        return found

    def tagged(self, region: str, resource: str) -> dict[str, str] | None:
        """The tags of an endpoint or configuration by its ARN; None for an ARN of another kind.

        Raises:
            AwsError: the ARN is of a kind that hosting owns, but nothing has it.
        """
        kind, _, name = resource.rpartition(":")[2].partition("/")
        if kind not in ("endpoint", "endpoint-config"):
            return None
        records: list[Config | Endpoint] = [*(self.endpoints if kind == "endpoint" else self.configs).values()]
        for found in records:
            if found.arn == resource.replace(f"{kind}/{name}", f"{kind}/{name.lower()}") and found.region == region:
                return found.tags
        raise AwsError("ResourceNotFound", f"Could not find {kind} {resource}")
