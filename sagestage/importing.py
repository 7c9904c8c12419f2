"""`sagestage import`: resources that exist become a stack's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from sagestage import output, report, stackfile
from sagestage.errors import SagestageError
from sagestage.progress import Stages
from sagestage.project import Project

if TYPE_CHECKING:
    from infra.engine import Import, Result

_KNOWN = frozenset({"type", "name", "id", "parent", "provider"})


@dataclass(frozen=True)
class Request:
    """What the command line asks for: resources as `pulumi import --file` has them, parents and providers as URNs."""

    stack: str
    resources: Sequence[dict[str, str]]
    on: str | None = None
    protect: bool = True
    preview: bool = False
    install: bool = False
    as_json: bool = False


def wanted(words: Sequence[str | None], parent: str, file: Path | None) -> list[dict[str, str]]:
    """The resources that the words TYPE NAME ID name, or those of a file in the format of `pulumi import --file`.

    Raises:
        SagestageError: there are both or none, or the file is not as it should be.
    """
    given = [word for word in words if word]
    if file is not None and not given:
        return read(file)
    if file is not None or len(given) != len(words):
        raise SagestageError("say TYPE, NAME and ID of one resource, or --file with many (and not both)")
    return [{"type": given[0], "name": given[1], "id": given[2], **({"parent": parent} if parent else {})}]


def read(file: Path) -> list[dict[str, str]]:
    """The resources in a file of `pulumi import`; names of its nameTable become the URNs that they stand for.

    Raises:
        SagestageError: it is not as it should be; the message names the entry.
    """
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise SagestageError(f"{file}: {error}; write a file as `pulumi import --file` takes it") from None
    names = content.get("nameTable") or {} if isinstance(content, dict) else {}
    resources = content.get("resources") if isinstance(content, dict) else None
    if not isinstance(resources, list) or not resources:
        raise SagestageError(f'{file}: "resources" must be a list of resources, each with type, name and id')
    found = []
    for number, each in enumerate(resources):
        lacking = [key for key in ("type", "name", "id") if not isinstance(each, dict) or not each.get(key)]
        strange = sorted(set(each) - _KNOWN) if isinstance(each, dict) else []
        if lacking or strange:
            problem = f"lacks {', '.join(lacking)}" if lacking else f"has {', '.join(strange)}, which is not known here"
            raise SagestageError(f"{file}: resource {number} {problem}")
        links = {key: names.get(each[key], each[key]) for key in ("parent", "provider") if each.get(key)}
        found.append({**each, **links})
    return found


def run(project: Project, request: Request) -> None:
    """Import the resources, and print the lines that declare them.

    Raises:
        EngineError, SagestageError: one does not exist, or is in the state as another.
    """
    from sagestage import engines

    config = stackfile.read(project.root, request.stack)
    if engines.choose(request.on, request.stack, config) == engines.AWS:
        from sagestage import on_aws

        on_aws.import_(project, request)
        return
    from infra.engine import Import
    from sagestage.deploy import Deployment

    imports = [Import(**each, protect=request.protect) for each in request.resources]
    console = output.console(as_json=request.as_json)
    with Stages(console) as stages, stages.stage("import") as stage:
        deployment = Deployment(project, request.stack, report.follow(stage), on=request.on)
        result = deployment.import_(imports, preview=request.preview)
        stage.summary = report.change_sentence(result)
    if request.as_json:
        output.print_json({**result.to_json(), "program": declarations(result, imports)})
        return
    console.print("Declare them in the program, with these inputs:\n" if declarations(result, imports) else "")
    for text in declarations(result, imports):
        sys.stdout.write(f"{text}\n\n")
    console.print(f"Next: {escape(f'sagestage preview --stack {request.stack}')} has no changes then.", highlight=False)


def declarations(result: Result, imports: Sequence[Import]) -> list[str]:
    """A declaration for each resource that was imported; secrets masked."""
    from sagestage.declaration import python

    protected: dict[tuple[str, str], Any] = {(each.type, each.name): each.protect for each in imports}
    return [
        python(step.type, step.name, step.inputs, protect=protected[step.type, step.name])
        for step in result.steps
        if step.op == "import"
    ]
