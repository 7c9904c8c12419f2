"""A small training container for tests of the embedded cloud: /opt/ml as SageMaker lays it out, in milliseconds.

Hyperparameters say how it behaves: `fail` writes a failure file, `epochs` are told one a step, `wait` goes on until it
is terminated. Each epoch is a checkpoint; one that is there already is gone on from. Several hosts meet by their names.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

BASE = Path(os.environ["SAGESTAGE_BASE_DIR"])


def meet(hosts: list[str], current: str) -> None:
    """The first host waits for the others, which say who they are."""
    if current == hosts[0]:
        with socket.create_server((current, 7000)) as server:
            for _ in hosts[1:]:
                connection, _ = server.accept()
                print(f"{current} met {connection.recv(100).decode()}", flush=True)  # noqa: T201 - a container's log
                connection.close()
        return
    while True:
        try:
            with socket.create_connection((hosts[0], 7000)) as connection:
                connection.sendall(current.encode())
                return
        except OSError:
            time.sleep(0.05)  # it may not have started yet


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated by SIGTERM"))
    settings = json.loads((BASE / "input/config/hyperparameters.json").read_text())
    resources = json.loads((BASE / "input/config/resourceconfig.json").read_text())
    if len(resources["hosts"]) > 1:
        meet(resources["hosts"], resources["current_host"])
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
