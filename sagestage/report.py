"""What a person sees: tables and sentences made of results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table

from sagestage.progress import Stage

if TYPE_CHECKING:
    from infra.engine import Event, Result
    from sagestage.models import Model
    from sagestage.traffic import VariantTraffic

MARKS = {
    "create": "[green]+ create[/]",
    "update": "[yellow]~ update[/]",
    "replace": "[magenta]± replace[/]",
    "create-replacement": "[magenta]+ create replacement[/]",
    "delete-replaced": "[magenta]- delete replaced[/]",
    "delete": "[red]- delete[/]",
    "read": "[cyan]> read[/]",
    "refresh": "[cyan]↻ refresh[/]",
    "import": "[green]= import[/]",
}
HIDDEN = frozenset({"same", "replace"})
"""Steps that a plan does not list: nothing happens, or their two halves are listed."""


def table(title: str, *columns: str, right: Iterable[int] = ()) -> Table:
    """An empty table in the one style of this program; the columns in `right` hold numbers."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    numbers = set(right)
    for index, column in enumerate(columns):
        made.add_column(column, justify="right" if index in numbers else "left", overflow="fold")
    return made


def metrics_table(models: Sequence[Model]) -> Table:
    """Held-out metrics of each model, and whether they pass the gate."""
    names = list(models[0].result.metrics)
    made = table("Held-out metrics", "model", *names, "gate", right=range(1, len(names) + 1))
    for model in models:
        verdict = "[green]passed[/]" if model.passed else "[red]missed[/]"
        rules = ", ".join(str(check.gate) for check in model.result.verdict.checks)
        made.add_row(
            model.name,
            *(f"{model.result.metrics[name]:.4f}" for name in names),
            f"{verdict} {escape(rules)}" if rules else "none",
        )
    return made


def gate_table(models: Sequence[Model]) -> Table:
    """Every rule of the gate, what was measured on the held-out rows, and by how much it was missed."""
    made = table("Gate", "model", "rule", "measured", "missed by", right=(2, 3))
    for model in models:
        for check in model.result.verdict.checks:
            measured = "undefined" if check.value is None else f"{check.value:.4f}"
            missed = "" if check.value is None else f"{abs(check.value - check.gate.threshold):.4f}"
            made.add_row(model.name, escape(str(check.gate)), measured, "" if check.passed else f"[red]{missed}[/]")
    return made


def gate_sentence(models: Sequence[Model]) -> str:
    """Which models missed which rules, and what can be done."""
    missed = "; ".join(f"{model.name}: {model.result.verdict.reason}" for model in models)
    return f"not deployed: {missed}. Better data, other features or another --gate may help"


def plan_table(result: Result) -> Table:
    """The steps of a plan or of a deployment as a tree of components, with the properties that differ."""
    made = table(f"{result.operation} of stack {result.stack}", "", "type", "resource", "properties")
    for column in made.columns[:3]:
        column.no_wrap = True
    for step in sorted(result.steps, key=lambda step: (_chain(step.urn), step.name)):
        if step.op in HIDDEN:
            continue
        keys = [f"[magenta]{escape(key)}[/]" for key in step.replace_keys]
        keys += [escape(key) for key in step.keys if key not in step.replace_keys]
        indent = "  " * (len(_chain(step.urn)) - 1)
        made.add_row(MARKS.get(step.op, step.op), indent + short_type(step.type), escape(step.name), ", ".join(keys))
    return made


def _chain(urn: str) -> tuple[str, ...]:
    """The types of a resource's parents and its own, as its URN tells them."""
    return tuple(urn.split("::")[2].split("$"))


def short_type(name: str) -> str:
    """`aws:sagemaker/endpoint:Endpoint` as `sagemaker Endpoint`, `sagestage:index:Model` as `Model`."""
    package, _, rest = name.partition(":")
    module, _, kind = rest.rpartition(":")
    service = module.partition("/")[0]
    if package == "pulumi":
        return f"provider {kind}" if module == "providers" else kind
    return f"{service} {kind}" if service not in ("", "index") else kind or name


def change_sentence(result: Result) -> str:
    """`12 created, 3 unchanged`."""
    words = {"create": "to create", "update": "to update", "replace": "to replace", "delete": "to delete"}
    words |= {"import": "to import"}
    if result.operation != "preview":
        words = {"create": "created", "update": "updated", "replace": "replaced", "delete": "deleted"}
        words |= {"import": "imported"}
    words["same"] = "unchanged"
    parts = [f"{count} {words.get(op, op)}" for op, count in result.summary.items() if count]
    return ", ".join(parts) if result.changed else f"no changes ({', '.join(parts) or 'nothing declared'})"


def follow(stage: Stage) -> Callable[[Event], None]:
    """An engine's listener that shows each step in the stage, and what the program and the provider remark."""
    stage.at("running the program" if stage.name in ("preview", "up") else "reading the state")

    def listen(event: Event) -> None:
        message = getattr(event, "message", None)
        severity = getattr(event, "severity", None)
        if message is not None and severity is not None:
            stage.remark(severity, str(message).strip())
            return
        step = getattr(event, "step", None)
        if step is not None and step.op not in HIDDEN:
            stage.at(f"{step.op}", detail=step.name)

    return listen


def endpoints_table(endpoints: Sequence[Mapping[str, Any]]) -> Table:
    """Endpoints and their variants."""
    made = table("Endpoints", "endpoint", "status", "variant", "weight", "instances", right=(3, 4))
    for endpoint in endpoints:
        colour = "green" if endpoint["status"] == "InService" else "yellow"
        for index, variant in enumerate(endpoint["variants"] or [{"name": "", "weight": None, "instances": None}]):
            made.add_row(
                endpoint["name"] if index == 0 else "",
                f"[{colour}]{endpoint['status']}[/]" if index == 0 else "",
                variant["name"],
                "" if variant["weight"] is None else f"{variant['weight']:g}",
                "" if variant["instances"] is None else str(variant["instances"]),
            )
        if endpoint.get("reason"):
            made.add_row("", f"[red]{escape(endpoint['reason'])}[/]", "", "", "")
    return made


def variants_table(variants: Mapping[str, VariantTraffic], requests: int) -> Table:
    """Who answered how much, against what the weights allow, and how fast."""
    made = table(
        f"Traffic: {requests} held-out rows by boto3",
        *("variant", "weight", "answered", "99.9 % interval", "p50 ms", "p95 ms", "p99 ms"),
        right=range(1, 7),
    )
    for name, one in variants.items():
        made.add_row(
            name,
            f"{one.weight:g}",
            f"{one.requests} ({one.requests / requests:.1%})",
            f"{one.interval[0]}-{one.interval[1]}",
            *(f"{one.latency(percent):.1f}" for percent in (50, 95, 99)),
        )
    return made


def stages_table(seconds: Mapping[str, float]) -> Table:
    """How long each stage took."""
    made = table("Stages", "stage", "seconds", right=(1,))
    together: dict[str, float] = defaultdict(float)
    for name, spent in seconds.items():
        together[name.partition(" ")[0]] += spent  # of all models
    for name, spent in together.items():
        made.add_row(name, f"{spent:.1f}")
    made.add_section()
    made.add_row("all", f"{sum(seconds.values()):.1f}")
    return made
