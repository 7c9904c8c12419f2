"""A CloudWatch dashboard of one endpoint."""

import pulumi
import pulumi_aws as aws

from infra import widgets
from infra.endpoint import Endpoint
from infra.surroundings import child, home


class Dashboard(pulumi.ComponentResource):
    """What one looks at first: latency, traffic, errors, utilisation and alarms of every variant.

    Attributes:
        dashboard_name: the name in CloudWatch, that of the endpoint.
    """

    dashboard_name: pulumi.Output[str]

    def __init__(self, name: str, endpoint: Endpoint, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("sagestage:index:Dashboard", name, None, opts)
        dashboard = aws.cloudwatch.Dashboard(
            name,
            dashboard_name=endpoint.spec.physical_name,
            dashboard_body=home(self).apply(lambda here: widgets.body(endpoint.spec, here)),
            opts=child(self),
        )
        self.dashboard_name = dashboard.dashboard_name
        self.register_outputs({"dashboardName": self.dashboard_name})
