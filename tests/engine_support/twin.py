"""Runs the same programs through the real Pulumi CLI and through the embedded engine, and shows both in one form.

An `Observation` has no times, random names or ids in it, so that two of them can be compared with ==.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.engine import Engine, EngineError, Import, Options, Step, StepStarted
from infra.engine.result import OnEvent
from tests.engine_support.toy import ToyProvider

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT.parent / "shared" / "tools"
PASSPHRASE = "a passphrase of the tests"
SALT = "v1:/onoxjEyfmY=:v1:44yPPgkjWeewa5Jw:VUoKsoO8+7+doF4rjx/wmasAJPh92A=="  # its verifier: a key is derived once
PRELUDE = """
import pulumi
from pulumi import ResourceOptions as Opts, Output, Alias
class Thing(pulumi.CustomResource):
    def __init__(self, resource_name, opts=None, **props):
        props = {"arn": None, "generation": None, "token": None, "name": None, **props}
        super().__init__("toy:index:Thing", resource_name, props, opts)
class Part(pulumi.CustomResource):
    def __init__(self, resource_name, opts=None, **props):
        super().__init__("toy:index:Part", resource_name, {"arn": None, "name": None, "value": None, **props}, opts)
class Provider(pulumi.ProviderResource):
    def __init__(self, resource_name, opts=None, **props):
        super().__init__("toy", resource_name, props, opts)
class Group(pulumi.ComponentResource):
    def __init__(self, resource_name, opts=None, **props):
        super().__init__("lab:index:Group", resource_name, props, opts)
def under(parent, **more):
    return Opts(parent=parent, **more)
"""
_VARIABLE = {"created", "modified", "stackTrace", "sourcePosition", "sequenceNumber"}
DIFFERING = ("update", "create-replacement", "replace")  # the steps whose diff is compared property by property
_SIGNATURE = "4dabf18193072939515e22adb298388d"


def cli() -> Path | None:
    """The real CLI: on PATH, or beside the project."""
    found = shutil.which("pulumi")
    return Path(found) if found else TOOLS / "pulumi" if (TOOLS / "pulumi").exists() else None


@dataclass(slots=True)
class Observation:
    """What one operation did: whether it succeeded, each step's (op, urn, replacing keys, diff), state and outputs.

    A step's diff is ((path, kind), …): empty where the real engine tells none, as for providers.
    """

    ok: bool
    steps: list[tuple[str, str, tuple[str, ...], tuple[tuple[str, str], ...]]]
    failed: list[tuple[str, str]]
    resources: list[dict[str, Any]]
    outputs: dict[str, Any]
    summary: dict[str, int] = field(default_factory=dict)
    text: str = field(default="", compare=False)


def steady(value: Any) -> Any:
    """A value without what is random in it."""
    if isinstance(value, dict):
        if _SIGNATURE in value and "plaintext" in value:
            return {"secret": steady(json.loads(value["plaintext"]))}
        return {k: steady(v) for k, v in value.items() if k not in _VARIABLE}
    if isinstance(value, list):
        return [steady(v) for v in value]
    if isinstance(value, str):
        value = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>", value)
        return re.sub(r"-[0-9a-f]{7}\b", "-<random>", value)
    return value


def _state(deployment: dict[str, Any]) -> list[dict[str, Any]]:
    resources = [steady(r) for r in deployment.get("resources") or []]
    for resource in resources:
        if "dependencies" in resource:
            resource["dependencies"] = sorted(resource["dependencies"])
        if "propertyDependencies" in resource:  # sets, in the order in which the program's SDK sent them
            by_property = resource["propertyDependencies"]
            resource["propertyDependencies"] = {name: sorted(urns or []) for name, urns in by_property.items()}
    return sorted(resources, key=lambda r: (r["urn"], r.get("delete", False), json.dumps(r, sort_keys=True)))


@dataclass(slots=True)
class Lab:
    """A project in a folder, with a cloud of its own, that either engine can be let loose on."""

    folder: Path
    stack: str = "dev"

    def __post_init__(self) -> None:
        for name in ("program", "cloud", "state", "bin"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.program / "Pulumi.yaml").write_text("name: lab\nruntime: python\n")
        self.select("dev")

    def select(self, stack: str) -> None:
        """Goes on with this stack, made where there is none of that name."""
        self.stack = stack
        file = self.program / f"Pulumi.{stack}.yaml"
        if not file.exists():
            file.write_text(f"config:\n  toy:region: here\nencryptionsalt: {SALT}\n")

    @property
    def program(self) -> Path:
        return self.folder / "program"

    @property
    def cloud(self) -> Path:
        return self.folder / "cloud"

    def write(self, source: str) -> None:
        (self.program / "__main__.py").write_text(PRELUDE + source)

    def things(self) -> dict[str, Any]:
        """What exists in the cloud."""
        found = {steady(p.stem): steady(json.loads(p.read_text())) for p in self.cloud.glob("*.json")}
        return dict(sorted(found.items()))


class Real(Lab):
    """The real CLI, with the toy provider as its plugin."""

    def __post_init__(self) -> None:
        Lab.__post_init__(self)
        plugin = self.folder / "bin" / "pulumi-resource-toy"
        plugin.write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m tests.engine_support.toy "$@"\n')
        plugin.chmod(0o755)
        self.run("stack", "init", "dev")

    def select(self, stack: str) -> None:
        new = stack != "dev" and not (self.program / f"Pulumi.{stack}.yaml").exists()
        Lab.select(self, stack)
        if new:
            self.run("stack", "init", stack)
        elif (self.folder / "state" / ".pulumi").exists():
            self.run("stack", "select", stack)

    def environment(self) -> dict[str, str]:
        binary = cli()
        assert binary is not None
        return {
            "HOME": str(self.folder),
            "PATH": f"{self.folder / 'bin'}:{binary.parent}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(Path(sys.executable).parent.parent),
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{self.folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_DEBUG_COMMANDS": "true",
            "TOY_CLOUD": str(self.cloud),
        }

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(cli()), *words, "--non-interactive"],
            cwd=self.program, env=self.environment(), text=True, capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def export(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("stack", "export", "--show-secrets").stdout)
        return found["deployment"]  # type: ignore[no-any-return]

    def operate(self, operation: str, targets: tuple[str, ...] = ()) -> Observation:
        """Does one operation; `targets` of an `import` are its type, its name and its id."""
        log = self.folder / "events.json"
        log.unlink(missing_ok=True)
        more = [] if operation == "preview" else ["--yes", "--skip-preview"]
        if operation == "import":
            more += ["--generate-code=false", *targets]
        else:
            more += [word for target in targets for word in ("--target", target)]
        done = self.run(operation, "--event-log", str(log), *more, check=False)
        steps, failed, summary = [], [], {}
        for line in log.read_text().splitlines():
            event = json.loads(line)
            # Only the beginnings of steps are told of all resources; a failed step has a beginning too.
            if operation == "refresh":
                if "resOutputsEvent" in event:
                    steps.append(_real_step(event["resOutputsEvent"]["metadata"]))
            elif "resourcePreEvent" in event:
                steps.append(_real_step(event["resourcePreEvent"]["metadata"]))
            if "resOpFailedEvent" in event:
                metadata = event["resOpFailedEvent"]["metadata"]
                failed.append((metadata["op"], metadata["urn"]))
            elif "summaryEvent" in event:
                summary = event["summaryEvent"]["resourceChanges"]
        steps = [s for s in steps if (s[0], s[1]) not in failed]
        state = self.export()
        resources = _state(state)
        outputs: dict[str, Any] = next(
            (r.get("outputs", {}) for r in resources if r["type"] == "pulumi:pulumi:Stack"), {}
        )
        if operation == "refresh":
            steps = [s for s in steps if "::pulumi:providers:" not in s[1]]  # it reads no providers, and tells of some
        return Observation(
            done.returncode == 0, sorted(steps), failed, resources, outputs, summary, done.stdout + done.stderr
        )


def _real_step(metadata: dict[str, Any]) -> tuple[str, str, tuple[str, ...], tuple[tuple[str, str], ...]]:
    op, keys = metadata["op"], tuple(sorted(metadata.get("keys") or ()))
    detailed = metadata.get("detailedDiff") or {} if op in DIFFERING else {}
    return op, metadata["urn"], keys, tuple(sorted((path, each["diffKind"]) for path, each in detailed.items()))


class Embedded(Lab):
    """The embedded engine, with the toy provider in this process."""

    def engine(
        self,
        provider: Callable[[], ToyProvider] | None = None,
        on_event: OnEvent = lambda _: None,
        **more: Any,
    ) -> Engine:
        return Engine(
            root=self.program,
            stack=self.stack,
            providers={"toy": provider or (lambda: ToyProvider(self.cloud))},
            home=self.folder / "state",
            on_event=on_event,
            **more,
        )

    def export(self) -> dict[str, Any]:
        from infra.engine.secrets import Crypter  # noqa: PLC0415 - beside the only use
        from infra.engine.state import resource_to_json  # noqa: PLC0415
        from infra.engine.store import Store  # noqa: PLC0415

        class Open(Crypter):
            def encrypt(self, text: str) -> str:
                return text

        store = Store(self.engine().state_file)
        crypter = Open(lambda: PASSPHRASE, store.salt())
        found = [resource_to_json(r, crypter) for r in store.load(crypter).resources]
        return {"resources": json.loads(json.dumps([_opened(r, crypter) for r in found]))}

    def operate(self, operation: str, targets: tuple[str, ...] = ()) -> Observation:
        text = ""
        begun: list[Step] = []
        try:
            engine = self.engine(
                on_event=lambda e: begun.append(e.step) if isinstance(e, StepStarted) else None,
                options=Options(() if operation == "import" else targets),
            )
            result = engine.import_([Import(*targets)]) if operation == "import" else getattr(engine, operation)()
            ok = True
        except EngineError as error:
            if error.result is None:
                raise
            result, ok, text = error.result, False, str(error)
        resources = _state(self.export())
        outputs: dict[str, Any] = next(
            (r.get("outputs", {}) for r in resources if r["type"] == "pulumi:pulumi:Stack"), {}
        )
        told = [s for s in result.steps if operation != "refresh" or not s.type.startswith("pulumi:providers:")]
        steps = sorted(
            (
                str(s.op),
                s.urn,
                tuple(sorted(s.replace_keys)),
                tuple(sorted((c.path, c.kind) for c in s.diff)) if s.op in DIFFERING else (),
            )
            for s in told
        )
        failed = [(str(f.step.op), f.step.urn) for f in result.failures if any(f.step is s for s in begun)]
        return Observation(ok, steps, failed, resources, outputs, result.summary, text)


def _opened(value: Any, crypter: Any) -> Any:
    if isinstance(value, dict):
        if "ciphertext" in value:
            sealed = value["ciphertext"]
            text = crypter.decrypt(sealed) if sealed.startswith("v1:") else sealed
            return {_SIGNATURE: value[_SIGNATURE], "plaintext": text}
        return {k: _opened(v, crypter) for k, v in value.items()}
    if isinstance(value, list):
        return [_opened(v, crypter) for v in value]
    return value


def differences(real: Observation, embedded: Observation) -> list[str]:
    """What differs, one line each; nothing when the engines agree."""
    found = []
    if real.ok != embedded.ok:
        found.append(f"ok: real {real.ok}, embedded {embedded.ok}\n{real.text}\n{embedded.text}")
    for name in ("steps", "failed", "summary", "outputs"):
        one, other = getattr(real, name), getattr(embedded, name)
        if name == "steps":
            untold = {step[:3] for step in real.steps if not step[3]}
            other = [(*step[:3], ()) if step[:3] in untold else step for step in embedded.steps]
        if isinstance(one, list):
            found += [f"{name}: only real: {x}" for x in one if x not in other]
            found += [f"{name}: only embedded: {x}" for x in other if x not in one]
        elif one != other:
            found.append(f"{name}: real {one}, embedded {other}")
    ours = {(r["urn"], r.get("delete", False)): r for r in embedded.resources}
    theirs = {(r["urn"], r.get("delete", False)): r for r in real.resources}
    for key in sorted(ours.keys() | theirs.keys()):
        one, other = theirs.get(key), ours.get(key)
        if one is None or other is None:
            found.append(f"state {key}: only {'embedded' if one is None else 'real'}")
            continue
        for name in sorted(one.keys() | other.keys()):
            if one.get(name) != other.get(name):
                found.append(f"state {key} {name}: real {one.get(name)!r}, embedded {other.get(name)!r}")
    return found
