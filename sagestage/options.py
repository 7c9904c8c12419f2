"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

Stack = Annotated[str, typer.Option("--stack", "-s", help="The stack: Pulumi.<stack>.yaml.", show_default=True)]
Replace = Annotated[
    bool,
    typer.Option("--allow-endpoint-replacement", help="Go on although an endpoint is deleted and made again."),
]
On = Annotated[
    str | None,
    typer.Option("--on", help="embedded (this machine) or aws (your account). Default: what fits the stack."),
]
TargetUrns = Annotated[
    list[str] | None, typer.Option("--target", help="Touch only the resource of this URN (* and ** as in Pulumi).")
]
Install = Annotated[bool, typer.Option("--install", help="Install the Pulumi CLI where it is missing (--on aws).")]
Region = Annotated[str | None, typer.Option(help="Look in this AWS region; by default in the embedded cloud's own.")]
Parallel = Annotated[
    int | None, typer.Option("--parallel", "-p", min=1, help="How many resources are worked on at a time.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object; progress goes to standard error.")]
