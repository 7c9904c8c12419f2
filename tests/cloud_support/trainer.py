"""A small training container for tests of the embedded cloud: /opt/ml as SageMaker lays it out, in milliseconds.

Hyperparameters say how it behaves: `fail` writes a failure file, `epochs` are told one a step, `wait` goes on until it
is terminated. Each epoch is a checkpoint; one that is there already is gone on from.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

BASE = Path(os.environ["SAGESTAGE_BASE_DIR"])


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated by SIGTERM"))
    settings = json.loads((BASE / "input/config/hyperparameters.json").read_text())
    if "fail" in settings:
        (BASE / "output/failure").write_text(settings["fail"])
        return 1
    checkpoint = BASE / "checkpoints/state.json"
    done = json.loads(checkpoint.read_text())["epochs"] if checkpoint.exists() else 0
    print(f"began after epoch {done}", flush=True)  # noqa: T201 - a container's log
    for epoch in range(done + 1, int(settings.get("epochs", 1)) + 1):
        print(f"epoch={epoch} train_loss={1 / epoch:.4f}", flush=True)  # noqa: T201 - as above
        if checkpoint.parent.is_dir():
            checkpoint.write_text(json.dumps({"epochs": epoch}))
    while settings.get("wait") and not (checkpoint.exists() and done):
        time.sleep(0.05)  # until SIGTERM
    files = sorted(str(path.relative_to(BASE)) for path in (BASE / "input/data").rglob("*") if path.is_file())
    seen = {"settings": settings, "files": files, "name": os.environ["TRAINING_JOB_NAME"]}
    (BASE / "model/seen.json").write_text(json.dumps(seen))
    (BASE / "output/data/note.txt").write_text("beside the model")
    return 0


if __name__ == "__main__":
    sys.exit(main())
