"""Engine: preview, up, refresh and destroy of one stack."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from infra.engine import builtin, deletion, importing, program, recovery, refreshing, urns
from infra.engine.deployment import Deployment, provider_config
from infra.engine.errors import EngineError
from infra.engine.importing import Import
from infra.engine.journal import Journal
from infra.engine.monitor import EngineLog, Monitor
from infra.engine.planner import Op
from infra.engine.plugins import Plugins, ProviderFactory
from infra.engine.progress import Skipped
from infra.engine.project import Config, Project, load_project, load_stack, resolve
from infra.engine.result import Diagnostic, OnEvent, Result
from infra.engine.secrets import Crypter, passphrase
from infra.engine.state import Resource, Snapshot
from infra.engine.steps import Steps
from infra.engine.store import Store
from infra.engine.targets import Targets
from infra.engine.values import Properties

PLACEHOLDER = "[placeholder: a secure value that cannot be decrypted here]"


@dataclass(frozen=True, slots=True)
class Options:
    """What makes an operation different from an ordinary one."""

    targets: tuple[str, ...] = ()
    """URNs, `*` for any text without a colon, `**` for any: nothing but the resources that they name is touched."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Configuration in the place of the stack file's; None takes a key away."""
    placeholders: bool = False
    """A secure value that cannot be decrypted becomes PLACEHOLDER, with a warning; otherwise it is refused."""


def _quiet(_: object) -> None:
    """Takes an event and does nothing with it."""


@dataclass(slots=True)
class _Run:
    """What one operation works with."""

    project: Project
    config: Config
    base: Snapshot
    steps: Steps
    packages: Mapping[str, Properties]


class Engine:
    """One stack of one project.

    Args:
        root: the project's folder, where Pulumi.yaml is.
        stack: the stack's name; its configuration is Pulumi.<stack>.yaml.
        providers: the provider of each package that the program uses ("aws": …), made anew for each operation.
        home: where states and the local passphrase are kept; `root/.sagestage` when it is not given. The state of a
            stack is `home/stacks/<project>/<stack>.json`, in the format of `pulumi stack export`.
        parallel: how many steps run at a time.
        on_event: is told what happens, one event at a time, from any thread.
        options: what is different from an ordinary run.

    Every method raises EngineError for whatever is wrong with the program, the configuration, the state or a resource;
    what was done before is saved, and is in the error's `result`.
    """

    def __init__(
        self,
        *,
        root: Path,
        stack: str,
        providers: Mapping[str, ProviderFactory],
        home: Path | None = None,
        parallel: int = 8,
        on_event: OnEvent = _quiet,
        options: Options = Options(),
    ) -> None:
        self._options = options
        self._root, self._stack, self._providers = root.resolve(), stack, providers
        self._home = home or self._root / ".sagestage"
        self._parallel, self._on_event = parallel, on_event

    def preview(self) -> Result:
        """What `up` would do. Changes nothing, needs no lock."""
        return self._operate("preview", self._update, preview=True)

    def up(self) -> Result:
        """Brings what is deployed to what the program declares."""
        return self._operate("up", self._update)

    def refresh(self) -> Result:
        """Brings the state to what is deployed; changes nothing else, and does not run the program."""
        return self._operate(
            "refresh", lambda run: refreshing.refresh(run.steps, self._parallel, Targets(self._options.targets))
        )

    def import_(self, imports: Iterable[Import], *, preview: bool = False) -> Result:
        """Enters resources that exist into the state; does not run the program, and changes no resource."""
        wanted = list(imports)

        def work(run: _Run) -> None:
            deployment = Deployment(run.steps, self._stack, run.project.name, run.packages)
            importing.take_in(run.steps, deployment, wanted, self._parallel)

        return self._operate("import", work, preview=preview)

    def destroy(self) -> Result:
        """Deletes everything that the stack owns; does not run the program."""
        return self._operate("destroy", self._delete)

    @property
    def state_file(self) -> Path:
        """Where this stack's state is; `pulumi stack import --file` reads it.

        Raises:
            EngineError: Pulumi.yaml is missing or wrong.
        """
        return self._home / "stacks" / load_project(self._root).name / f"{self._stack}.json"

    def outputs(self) -> Properties:
        """The stack's outputs after its last `up`; secret ones are `Secret`."""
        project = load_project(self._root)
        load_stack(project, self._stack)
        store = Store(self.state_file)
        return dict(store.load(Crypter(self._passphrase, store.salt())).outputs())

    def export(self) -> str:
        """The state as JSON, for people and for `pulumi stack import`. Secrets stay encrypted.

        Raises:
            EngineError: it cannot be read.
        """
        store = Store(self.state_file)
        if store.interrupted:
            with store.locked():
                crypter = Crypter(self._passphrase, store.salt())
                store.save(store.load(crypter), crypter)
        return store.export()

    def unprotect(self, urn: str) -> None:
        """Lets a resource be deleted, in the state alone: a program that still declares `protect` protects it again.

        Raises:
            EngineError: the state has no such resource, or it cannot be read.
        """
        store = Store(self.state_file)
        with store.locked():
            crypter = Crypter(self._passphrase, store.salt())
            state = store.load(crypter)
            if not any(r.urn == urn for r in state.resources):
                raise EngineError(f"{urn}: no resource of stack {self._stack} has that URN; `state export` shows them")
            freed = tuple(replace(r, protect=False) if r.urn == urn else r for r in state.resources)
            store.save(replace(state, resources=freed), crypter)

    # ------------------------------------------------------------------------------------------------------------------

    def _passphrase(self) -> str:
        return passphrase(os.environ, self._home)

    def _operate(self, operation: str, work: Callable[[_Run], Any], *, preview: bool = False) -> Result:
        project = load_project(self._root)
        file = load_stack(project, self._stack)
        changed = {k: v for k, v in {**file.values, **self._options.overrides}.items() if v is not None}
        file = replace(file, values=changed)
        store = Store(self._home / "stacks" / project.name / f"{self._stack}.json")
        lock: AbstractContextManager[None] = nullcontext() if preview else store.locked()
        references = builtin.stack_reader(self._home, project.name, self._passphrase)
        providers = {**self._providers, builtin.PACKAGE: lambda: builtin.BuiltIn(references)}
        with lock, Plugins(providers, self._parallel) as plugins:
            # With placeholders the passphrase may be another than the file's: its salt stays out of the state.
            salt = store.salt() or (None if self._options.placeholders else file.salt)
            crypter = Crypter(self._passphrase, salt)
            opener = crypter if salt == file.salt else Crypter(self._passphrase, file.salt)
            config = resolve(project, file, self._lenient(opener) if self._options.placeholders else opener.decrypt)
            packages = provider_config(config.values, config.secret_keys)
            base = store.load(crypter)
            if store.interrupted and not preview:
                store.save(base, crypter)
            journal = Journal(base, lambda entries: store.append(entries, crypter))
            steps = Steps(
                journal,
                plugins,
                self._on_event,
                preview=preview,
                provider_inputs=lambda r: _current(r, packages),
            )
            if not preview and base.resources:
                store.back_up()
            recovery.recover(steps, base.pending)
            error = self._attempt(work, _Run(project, config, base, steps, packages))
            steps.save()
            if (journal.changed or base.pending) and not preview:
                store.save(journal.snapshot(), crypter)
            outputs = journal.snapshot().outputs()
        result = Result(self._stack, operation, tuple(steps.done), outputs, tuple(steps.failures))
        if steps.failures:
            raise _failed(result)
        if error is not None:
            raise EngineError(f"{error}{_saved(result)}", result=result) from error.__cause__
        return result

    def _lenient(self, crypter: Crypter) -> Callable[[str], str]:
        told = False

        def decrypt(sealed: str) -> str:
            nonlocal told
            try:
                return crypter.decrypt(sealed)
            except EngineError:
                if not told:
                    told = True
                    remark = f"secure values cannot be decrypted here: the program gets {PLACEHOLDER!r} for each"
                    self._on_event(Diagnostic("warning", remark))
                return PLACEHOLDER

        return decrypt

    def _attempt(self, work: Callable[[_Run], Any], run: _Run) -> EngineError | None:
        try:
            work(run)
        except Skipped:
            return None  # the failure before it is told
        except EngineError as error:
            return error
        except KeyboardInterrupt:
            run.steps.stop()
            return EngineError("interrupted: what was under way has ended, run the operation again to go on")
        return None

    def _delete(self, run: _Run) -> None:
        targets = Targets(self._options.targets)
        deletion.delete_left(run.steps, self._parallel, targets)
        if targets.patterns and not run.steps.stopped:
            for resource in run.steps.journal.left().values():  # the real engine tells what it left alone
                with run.steps.told(run.steps.step(Op.SAME, resource.urn, resource.type)):
                    pass

    def _update(self, run: _Run) -> None:
        targets = Targets(self._options.targets)
        deployment = Deployment(run.steps, self._stack, run.project.name, run.packages, targets)
        monitor = Monitor(deployment, run.steps, run.config, run.project.root, parallel=self._parallel)
        with closing(monitor):
            program.run(
                run.project,
                self._stack,
                run.config,
                monitor,
                EngineLog(run.steps),
                preview=run.steps.preview,
                parallel=self._parallel,
            )
        run.steps.go_on()
        deletion.delete_left(run.steps, self._parallel, targets)


def _current(provider: Resource, packages: Mapping[str, Properties]) -> Properties:
    """A provider's configuration: for a default provider, what the stack file says now (an address may have moved)."""
    if not urns.is_default_provider(provider.urn):
        return provider.inputs
    now = packages.get(urns.package_of(provider.type))
    kept = {k: v for k, v in provider.inputs.items() if k in ("version", "__internal")}
    return {**now, **kept} if now else provider.inputs


def _saved(result: Result) -> str:
    """How much of an operation was done before something ended it, as the end of a sentence."""
    done = sum(1 for step in result.steps if step.op not in (Op.SAME, Op.READ))
    if result.operation == "preview" or not done:
        return "; nothing was changed"
    return f"; {done} steps before it are done and saved"


def _failed(result: Result) -> EngineError:
    """One line for what went wrong first, and how much did not."""
    first = result.failures[0]
    others = f" (and {len(result.failures) - 1} more)" if len(result.failures) > 1 else ""
    done = sum(result.summary.values())
    kept = "nothing was changed" if result.operation == "preview" else f"{done} resources before it are done and saved"
    return EngineError(
        f"{result.operation} failed: {first.step.op} of {urns.label(first.step.urn)}: {first.message}{others}; "
        f"{kept}; correct it and run {result.operation} again",
        result=result,
    )
