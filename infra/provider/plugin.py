"""The plugin that the real engine finds on its PATH: an executable that starts this provider."""

import shlex
import sys
from pathlib import Path

PLUGIN_NAME = "pulumi-resource-aws"


def install_plugin(directory: Path) -> Path:
    """Write the executable that starts this provider into the directory; the answer is its path.

    It runs the interpreter that runs now, from the folder that this package was imported from.
    """
    directory.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).resolve().parents[2]
    script = (
        "#!/bin/sh\n"
        "# Made by sagestage: the stand-in for Pulumi's AWS provider. It reaches this machine only.\n"
        f"PYTHONPATH={shlex.quote(str(source))}${{PYTHONPATH:+:$PYTHONPATH}}\n"
        "export PYTHONPATH\n"
        f'exec {shlex.quote(sys.executable)} -m infra.provider "$@"\n'
    )
    path = directory / PLUGIN_NAME
    if not path.exists() or path.read_text() != script:
        path.write_text(script)
    path.chmod(0o755)
    return path
