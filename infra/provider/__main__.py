"""`python -m infra.provider ENGINE_ADDRESS`: the plugin process that the real Pulumi engine starts."""

import contextlib
import sys

from infra.provider.serving import serve

if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        serve(sys.argv[1:])
