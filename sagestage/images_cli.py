"""`sagestage images …`: build, push and describe the container images."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sagestage import output
from sagestage.errors import SagestageError
from sagestage.options import Json
from sagestage.project import Project

app = typer.Typer(no_args_is_help=True, help="The training and serving images.")
Role = Annotated[str, typer.Option("--role", help="inference, training, or all of them.")]
Device = Annotated[str, typer.Option("--device", help="cpu or gpu: the image's tag; a gpu serving image has torch.")]


@app.command("build", epilog="Example: sagestage images build --role inference --device gpu")
def build(
    *,
    role: Role = "all",
    device: Device = "cpu",
    base: Annotated[str, typer.Option("--base-image", help="Instead of python:3.11-slim.")] = "",
    tools: Annotated[str, typer.Option("--build-image", help="The first stage's, where it is another.")] = "",
    torch: Annotated[str, typer.Option(help="none, pip, or base: the base image's own.")] = "",
    torch_index: Annotated[str, typer.Option(help="Where torch is taken from, such as PyTorch's CPU index.")] = "",
    extras: Annotated[str, typer.Option(help="Of the serving image: serve, or serve,onnx.")] = "",
    platform: Annotated[str, typer.Option(help="Such as linux/arm64, where the engine can.")] = "",
    as_json: Json = False,
) -> None:
    """Build the images, and print what their base is resolved to, their CUDA and their size."""
    from sagestage import images

    roles = _roles(role)
    _one_of("--device", device, ("cpu", "gpu"))
    _one_of("--torch", torch, ("", "none", "pip", "base"))
    wanted = images.Wanted(device, torch, torch_index, extras, platform)
    console = output.console(as_json=as_json)
    found = images.base_of(base, tools)
    console.print(f"base {found.image}\n     {found.resolved}", highlight=False, soft_wrap=True)
    made = []
    for one in roles:
        with console.status(f"building sagestage-{one}:{device}"):
            built = images.build(Project.find().root, one, wanted, found)
        made.append(built)
        size = f"{built.megabytes:,.0f} MB, CUDA {built.cuda}, {built.seconds:.0f} s with the {built.builder} builder"
        console.print(f"{built.tag}  {size}\n     {built.digest}", highlight=False, soft_wrap=True)
    if as_json:
        output.print_json({"images": [asdict(built) for built in made]})


@app.command("push", epilog="Example: sagestage images push --stack prod")
def push(
    *,
    stack: Annotated[str, typer.Option("--stack", "-s", help="The stack: Pulumi.<stack>.yaml.")],
    role: Role = "inference",
    device: Device = "cpu",
    repository: Annotated[str, typer.Option(help="Instead of that of the image in the stack's configuration.")] = "",
    architecture: Annotated[str, typer.Option(help="amd64, or arm64 for Graviton's machines.")] = "amd64",
    as_json: Json = False,
) -> None:
    """Push an image to the stack's registry, and write its digest into the stack's configuration."""
    from sagestage import registry

    _one_of("--architecture", architecture, ("amd64", "arm64"))
    console = output.console(as_json=as_json)
    root = Project.find().root
    done = []
    for one in _roles(role):
        tag = f"sagestage-{one}:{device}"
        pushed = registry.push(root, stack, one, tag=tag, given=repository, architecture=architecture)
        done.append(pushed)
        what = "written into" if pushed.changed else "already in"
        console.print(f"{pushed.image}\n{what} {_from_here(pushed.file)}", highlight=False, soft_wrap=True)
    if as_json:
        output.print_json({"images": [asdict(one) for one in done]})


@app.command("sbom", epilog="Example: sagestage images sbom sagestage-inference:cpu --out inference.cdx.json")
def sbom(
    image: Annotated[str, typer.Argument(help="An image that is on this machine's engine.")],
    *,
    out: Annotated[Path | None, typer.Option(help="A file; standard output otherwise.")] = None,
) -> None:
    """Write the bill of materials of an image: CycloneDX JSON, Python and Debian packages."""
    import orjson

    from sagestage import sbom as bill

    made = bill.of(image)
    text = orjson.dumps(made, option=orjson.OPT_INDENT_2)
    if out is None:
        sys.stdout.write(text.decode() + "\n")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(text)
    output.console().print(f"{len(made['components'])} packages in {out}", highlight=False, soft_wrap=True)


def _roles(role: str) -> tuple[str, ...]:
    from sagestage.images import ROLES

    _one_of("--role", role, (*ROLES, "all"))
    return ROLES if role == "all" else (role,)


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SagestageError(f"{option} {value}: choose {', '.join(one for one in known if one)}")


def _from_here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
