"""What is watched of a model in production, as values; and why an alarm that does not fit its schedule is refused."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY
from dataclasses import field as default_of
from typing import Annotated, Any, Literal

from infra import limits
from infra.limits import Least, Limit, Most
from infra.model_spec import Network
from infra.names import artifact_problems, physical_name_problems, tag_problems
from infra.platform_spec import key_problems
from infra.values import FROZEN, spec, within

MONITORING = "SageMaker, schedule monitoring jobs"
