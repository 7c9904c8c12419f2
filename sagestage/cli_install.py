"""The Pulumi CLI for `--on aws`: the user's, one that was installed before, or one that is installed if they agree."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import typer
from pulumi import automation as auto

from sagestage.errors import SagestageError

QUESTION = "The Pulumi CLI is missing. Install it (from get.pulumi.com, into ~/.pulumi/versions)?"
GUIDE = "https://www.pulumi.com/docs/install/"


def at_terminal(question: str) -> bool:
    """Whether the user says yes; nobody is asked where there is no terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and typer.confirm(question)


def command(stack: str, *, install: bool, agrees: Callable[[str], bool] = at_terminal) -> auto.PulumiCommand:
    """The CLI that the Automation API runs.

    Args:
        stack: what it is for, for the error.
        install: the user has agreed already (`--install`).
        agrees: asks them.

    Raises:
        SagestageError: there is none and the user does not want one, the one there is cannot be used, or it could not
            be installed.
    """
    if shutil.which("pulumi"):
        try:
            return auto.PulumiCommand()
        except Exception as error:
            raise SagestageError(
                f"the pulumi on the PATH cannot be used: {_line(error)}; update it ({GUIDE})"
            ) from error
    earlier = _installed()
    if earlier is not None:
        return earlier
    if not install and not agrees(QUESTION):
        raise SagestageError(
            f"stack {stack!r} deploys to AWS, and there is no `pulumi` on the PATH: install it ({GUIDE}) or add "
            "--install; `--on embedded` rehearses the stack here"
        )
    try:
        return auto.PulumiCommand.install()
    except Exception as error:
        raise SagestageError(
            f"the Pulumi CLI could not be installed: {_line(error)}; nothing was deployed: install it by hand ({GUIDE})"
        ) from error


def _installed() -> auto.PulumiCommand | None:
    """The newest CLI that an earlier run installed, if it is one that this SDK can use."""
    folder = Path.home() / ".pulumi" / "versions"
    for root in sorted(folder.glob("*"), key=lambda each: each.stat().st_mtime, reverse=True):
        try:
            return auto.PulumiCommand(root=str(root))
        except Exception:  # noqa: BLE001, S112 - half installed, or too old: the next one, or a new one
            continue
    return None


def _line(error: Exception) -> str:
    """What went wrong, in one line; of a script that failed, its last words."""
    if isinstance(error, subprocess.CalledProcessError):
        words = (error.output or b"").decode(errors="replace").strip().splitlines()
        return words[-1] if words else f"exit code {error.returncode}"
    return " ".join(str(error).split()) or type(error).__name__
