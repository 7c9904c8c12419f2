"""The real Pulumi CLI is the judge: it runs the same programs with the same provider, step by step.

Compared are the operations of every resource, what makes it replaced, what fails, the summary, the stack's outputs, the
whole state (times, random names and ids aside) and what exists in the cloud.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine_support.twin import PASSPHRASE, Embedded, Lab, Real, cli, differences

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(cli() is None, reason="the real Pulumi CLI is neither on PATH nor in ../shared/tools"),
]

LIFE = """
a = Thing("a", value=3, tags={"x": "y"})
b = Thing("b", value=a.arn, refs=[a.id], password=Output.secret("pw"), opts=Opts(additional_secret_outputs=["arn"]))
g = Group("g", x=1)
i = Thing("i", value=Output.secret(5), opts=under(g))
h = Group("h", z=[1, Output.secret(2)], opts=under(g))
j = Thing("j", value=Output.all(i.value, i.id).apply(lambda v: "-".join(map(str, v))), opts=under(h))
g.register_outputs({"a": i.arn, "s": i.token})
pulumi.export("arn", a.arn)
pulumi.export("token", a.token)
pulumi.export("res", b)
pulumi.export("list", [1, 2.5, True, None, a.arn, {"k": Output.secret("v")}])
pulumi.export("null", None)
"""
LIFE_EDITED = """
n = Thing("n", value=1)
a = Thing("a", value=n.arn, tags={"x": "z", "w": [1, 2, {"k": 1.5}]})
b = Thing("b", value=a.arn, kind=n.id, password=Output.secret("pw2"))
h = Group("h", z=[1, Output.secret(3)])
i = Thing("i", value=6, opts=under(h))
found = pulumi.runtime.invoke("toy:index:describe", {"name": "nothing"}).value
pulumi.export("found", found["exists"])
pulumi.export("arn", b.arn)
"""
OPTIONS = [
    """
a = Thing("a", value=1, size=1, tags={"x": "1", "y": "2"}, refs=[1, 2],
          opts=Opts(ignore_changes=["value", "tags.x", "refs[0]"]))
b = Thing("b", value=1, tags={"x": 1}, opts=Opts(replace_on_changes=["value", "tags.*"]))
c = Thing("c", value=1, opts=Opts(retain_on_delete=True))
d = Thing("d", value=1, opts=Opts(custom_timeouts=pulumi.CustomTimeouts(create="5m")))
e = Thing("e", value=1, opts=Opts(deleted_with=d))
f = Thing("f", value=1, opts=Opts(parent=d, depends_on=[a]))
""",
    """
a = Thing("a", value=2, size=2, tags={"x": "3", "y": "4"}, refs=[8, 9],
          opts=Opts(ignore_changes=["value", "tags.x", "refs[0]"]))
b = Thing("b", value=2, tags={"x": 1}, opts=Opts(replace_on_changes=["value", "tags.*"]))
f = Thing("f", value=1, opts=Opts(depends_on=[b], aliases=[Alias(parent="urn:pulumi:dev::lab::toy:index:Thing::d")]))
""",
    """
a = Thing("a", value=8, kind="z", opts=Opts(ignore_changes=["value"]))
b = Thing("b", value=2, tags={"x": 2, "z": 1}, opts=Opts(replace_on_changes=["tags.*"]))
f = Thing("f", value=1, opts=Opts(protect=True, additional_secret_outputs=["arn"]))
""",
    """
f = Thing("f", value=1)
""",
]
NAMES = [
    """
a = Thing("a", value=1)
b = Thing("b", value=a.arn)
g = Group("g")
h = Thing("g-x", value=2, opts=under(g))
k = Part("k", value=2, opts=under(h))
u = Thing("u", value=4)
""",
    """
a = Thing("a2", value=1, opts=Opts(aliases=[Alias(name="a")]))
b = Thing("b", value=a.arn)
g = Group("g2", opts=Opts(aliases=[Alias(name="g")]))
h = Thing("g2-x", value=2, opts=under(g))
k = Part("k", value=2, opts=under(h))
u = Thing("u", value=4, opts=Opts(parent=g, aliases=[Alias(parent=None, name="u")]))
""",
    """
a = Thing("a3", value=1, kind="k", opts=Opts(aliases=[Alias(name="a2"), "urn:pulumi:dev::lab::toy:index:Thing::a"]))
g = Group("g2")
h = Thing("g2-x", value=2, opts=under(g))
""",
]
REPLACEMENTS = """
a = Thing("a", name="fixed", kind="{n}")
b = Thing("b", kind=a.arn)
c = Thing("c", value=b.arn)
d = Thing("d", kind=c.arn)
e = Thing("e", value=3, opts=Opts(depends_on=[a]))
p = Thing("p", kind="{n}", opts=Opts(delete_before_replace=True))
q = Thing("q", kind=p.id)
r = Thing("r", name="other{n}", kind="1", opts=Opts(delete_before_replace=False))
"""
REPLACED_AND_LEFT_OUT = """
a = Thing("a", name="fixed", kind="3")
c = Thing("c", value=a.arn)
q = Thing("q", kind="t")
"""
PROVIDERS = [
    """
p = Provider("p", region="r1")
q = Provider("q", region="r1")
a = Thing("a", value=1, opts=Opts(provider=p))
b = Thing("b", value=1)
g = Group("g", opts=Opts(providers=[p]))
c = Thing("c", value=1, opts=under(g))
d = Thing("d", value=1, opts=Opts(provider=q))
e = Thing("e", value=1)
""",
    """
p = Provider("p", region="r2")
q = Provider("q", region="r1", account="2")
r = Provider("r", region="r1", account="5")
a = Thing("a", value=1)
b = Thing("b", value=1, opts=Opts(provider=p))
g = Group("g", opts=Opts(providers=[p]))
c = Thing("c", value=a.arn, opts=under(g))
d = Thing("d", value=1, opts=Opts(provider=q))
e = Thing("e", value=1, opts=Opts(provider=r))
""",
]
FAILING = [
    """
a = Thing("a", value=1)
b = Thing("b", value=a.arn, fail="create")
c = Thing("c", value=b.arn)
""",
    """
a = Thing("a", value=2)
b = Thing("b", value=a.arn, opts=Opts(protect=True))
c = Thing("c", value=3)
d = Thing("d", value=a.generation, kind="g", opts=Opts(delete_before_replace=True))
e = Thing("e", value=b.arn)
""",
    """
a = Thing("a", value=3)
d = Thing("d", value=a.generation, kind="h", fail="create", opts=Opts(delete_before_replace=True))
""",
    """
a = Thing("a", value=3)
d = Thing("d", value=a.generation, kind="i", opts=Opts(delete_before_replace=True))
""",
]
DRIFTED = """
a = Thing("a", name="aa", value=1)
b = Thing("b", name="bb", value=a.arn, opts=Opts(parent=a))
c = Thing("c", name="cc", value=3, opts=Opts(depends_on=[b]))
k = Thing("k", name="kept", value=5, opts=Opts(retain_on_delete=True))
"""
READ = """
a = Thing("a", name="aa", value=1)
r = Thing("r", opts=Opts(id="kept"))
i = Thing("i", value=r.arn)
"""
IMPORTED = """
a = Thing("a", name="aa", value=1)
m = Thing("m", name="kept", value=5, opts=Opts(import_="kept"))
"""
IMPORTS = [
    """
k = Thing("k", name="kept", value=5, opts=Opts(retain_on_delete=True))
l = Thing("l", name="left", value=6, tags={"x": "1"}, opts=Opts(retain_on_delete=True))
o = Thing("o", name="other", value=6, kind="1", opts=Opts(retain_on_delete=True))
m = Thing("m", name="mine", value=7)
""",
    """
m = Thing("m", name="mine", value=7)
""",
    """
m = Thing("m", name="mine", value=7)
k = Thing("k", name="kept", value=m.generation, opts=Opts(import_="kept"))
i = Thing("i", name="other", value=8, kind="1", opts=Opts(import_="other", ignore_changes=["value"], protect=True))
""",
    """
k = Thing("k", name="kept", value=9, opts=Opts(import_="kept"))
m = Thing("m", name="left", value=6, tags={"x": k.arn}, opts=Opts(import_="left"))
i = Thing("i", name="other", value=8, kind="1", opts=Opts(import_="other", ignore_changes=["value"]))
""",
    """
k = Thing("k", name="new", value=9, opts=Opts(import_="kept"))
""",
    """
k = Thing("k", name="new", value=9)
""",
]


TARGETS = """
a = Thing("a", value={n})
b = Thing("b", value={n})
c = Thing("c", value=b.arn, size={n})
g = Group("g")
d = Thing("d", value={n}, opts=under(g))
pulumi.export("a", a.value)
"""
URN = "urn:pulumi:dev::lab::toy:index:Thing::"
DELETIONS = [
    """
a = Thing("a", value=1, fail="delete")
b = Thing("b", value=1)
c = Thing("c", value=b.arn)
""",
    """
b = Thing("b", value=1)
""",
]
PROTECTED = [
    """
a = Thing("a", kind="1", opts=Opts(protect=True))
b = Thing("b", value=1)
""",
    """
a = Thing("a", kind="2", opts=Opts(protect=True))
b = Thing("b", value=a.arn)
""",
]
NESTED = [
    """
class Inner(pulumi.ComponentResource):
    def __init__(self, name, opts=None):
        super().__init__("lab:index:Inner", name, {}, opts)
        self.thing = Thing(f"{name}-thing", value=1, opts=under(self))
        self.register_outputs({"arn": self.thing.arn})
class Outer(pulumi.ComponentResource):
    def __init__(self, name, opts=None):
        super().__init__("lab:index:Outer", name, {}, opts)
        self.inner = Inner(f"{name}-inner", under(self))
        self.last = Thing(f"{name}-last", kind=self.inner.thing.arn, opts=under(self, depends_on=[self.inner]))
o = Outer("o", Opts(protect=False))
pulumi.export("deep", {"x": [o.inner.thing.arn, Output.secret({"y": o.last.arn})]})
""",
    """
class Outer(pulumi.ComponentResource):
    def __init__(self, name, opts=None):
        super().__init__("lab:index:Outer", name, {}, opts)
        self.thing = Thing(f"{name}-inner-thing", value=1, kind="n", opts=under(self, aliases=[Alias(
            parent="urn:pulumi:dev::lab::lab:index:Outer$lab:index:Inner::o-inner")]))
        self.last = Thing(f"{name}-last", kind=self.thing.arn, opts=under(self))
o = Outer("o")
""",
]

TRANSFORMS = [
    """
def size(args):
    if args.type_ != "toy:index:Thing":
        return None
    return pulumi.ResourceTransformResult({**args.props, "size": SIZE}, args.opts)
def protected(args):
    if "keep" not in args.name:
        return None
    return pulumi.ResourceTransformResult(args.props, Opts.merge(args.opts, Opts(protect=KEEP, retain_on_delete=True)))
def nothing(args):
    return None
def tagged(args):
    tags = {"by": args.name, "was": args.props.get("tags")}
    return pulumi.ResourceTransformResult({**args.props, "tags": tags}, args.opts)
def late(args):
    return pulumi.ResourceTransformResult(args.props, Opts.merge(args.opts, Opts(depends_on=[first])))
first = Thing("first", value=1)
pulumi.runtime.register_resource_transform(size)
pulumi.runtime.register_resource_transform(protected)
a = Thing("a", value=first.arn, password=Output.secret("x"), opts=Opts(transforms=[tagged]))
b = Thing("b-keep", value=a.arn, refs=[a.id, Output.secret(a.token)], opts=Opts(transforms=[nothing]))
g = Group("g", x=Output.secret(1), y=a.arn, opts=Opts(transforms=[tagged]))
c = Thing("c", value=b.arn, tags={"k": first.arn}, opts=under(g))
d = Part("d", value=c.arn, opts=under(c, transforms=[late], ignore_changes=["value"], replace_on_changes=["name"]))
e = Thing("e", value=1, opts=Opts(aliases=[Alias(name="old")], custom_timeouts=pulumi.CustomTimeouts(create="5m"),
    delete_before_replace=False, additional_secret_outputs=["arn"], deleted_with=a, transforms=[nothing]))
pulumi.export("a", a.arn)
""".replace("SIZE", size).replace("KEEP", keep)
    for size, keep in (("1", "True"), ("2", "False"))
]
INVOKES = """
def asked(args):
    return pulumi.InvokeTransformResult({**args.args, "name": "a-name"}, args.opts)
pulumi.runtime.register_invoke_transform(asked)
a = Thing("a", name="a-name", value=pulumi.runtime.invoke("toy:index:describe", {"name": "nothing"}).value["name"])
"""
BROKEN = """
def wrong(args):
    raise ValueError("no such tag")
a = Thing("a", value=1)
b = Thing("b", value=a.arn, opts=Opts(transforms=[wrong]))
"""
REFERRED = """
a = Thing("a", value=VALUE)
pulumi.export("arn", a.arn)
pulumi.export("token", a.token)
pulumi.export("both", {"x": [a.arn, Output.secret(1)]})
"""
REFERRING = """
base = pulumi.StackReference("base")
other = pulumi.StackReference("other", stack_name="organization/lab/base", opts=Opts(parent=base))
b = Thing("b", value=base.get_output("arn"), password=base.require_output("token"),
    refs=[other.outputs["both"]["x"][0]])
pulumi.export("none", base.get_output("none"))
pulumi.export("both", other.get_output("both"))
"""
INHERITED = [
    """
d = Thing("d", value=1)
g = Group("g", opts=Opts(protect=True, retain_on_delete=True, deleted_with=d))
a = Thing("a", value=1, opts=under(g))
h = Group("h", opts=under(g, protect=False))
b = Thing("b", value=1, opts=under(h, retain_on_delete=False))
t = Thing("t", value=1, opts=Opts(protect=True))
c = Thing("c", value=1, opts=under(t))
""",
    """
d = Thing("d", value=1)
g = Group("g")
a = Thing("a", value=1, opts=under(g))
h = Group("h", opts=under(g, protect=True))
b = Thing("b", value=1, opts=under(h, protect=False))
t = Thing("t", value=1)
c = Thing("c", value=1, opts=under(t))
""",
]


def drift(lab: Lab) -> None:
    (lab.cloud / "bb.json").unlink()
    changed = lab.cloud / "aa.json"
    changed.write_text(changed.read_text().replace('"value": 1.0', '"value": 9.0'))


def use(stack: str) -> Callable[[Lab], None]:
    return lambda lab: lab.select(stack)


Act = str | tuple[str, str] | tuple[str, str, tuple[str, ...]] | Callable[[Lab], None]
PROGRAMS: dict[str, list[Act]] = {
    "life": [LIFE, ("preview", LIFE), ("preview", LIFE_EDITED), LIFE_EDITED, ("refresh", LIFE_EDITED), ("destroy", "")],
    "options": [*OPTIONS, ("destroy", "")],
    "names": [*NAMES, ("destroy", "")],
    "replacements": [
        REPLACEMENTS.format(n=1), ("preview", REPLACEMENTS.format(n=2)), REPLACEMENTS.format(n=2),
        REPLACED_AND_LEFT_OUT,
    ],
    "providers": [PROVIDERS[0], ("preview", PROVIDERS[1]), PROVIDERS[1], ("destroy", "")],
    "failures": [*FAILING[:3], ("destroy", ""), FAILING[3]],
    "targets": [
        TARGETS.format(n=1), ("preview", TARGETS.format(n=2), (URN + "a",)), ("up", TARGETS.format(n=2), (URN + "a",)),
        ("refresh", "", ("**::c",)), ("destroy", "", (URN + "c", URN + "b")), TARGETS.format(n=3), ("destroy", ""),
    ],
    "deletions": [*DELETIONS, 'n = Thing("n", value=2)\nraise ValueError("half-way")'],
    "protected": [*PROTECTED],
    "nested": [NESTED[0], ("preview", NESTED[1]), NESTED[1], ("destroy", "")],
    "imports": [
        IMPORTS[0], IMPORTS[1], ("preview", IMPORTS[2]), *IMPORTS[2:4], ("preview", IMPORTS[3]), *IMPORTS[4:],
        ("destroy", ""),
    ],
    "import command": [
        IMPORTS[0], IMPORTS[1],
        ("import", "", ("toy:index:Thing", "k", "kept")), ("import", "", ("toy:index:Thing", "k", "left")),
        ("import", "", ("toy:index:Thing", "k", "kept")),
        IMPORTS[1] + 'k = Thing("k", name="kept", value=5, opts=Opts(protect=True))',
        IMPORTS[1] + 'k = Thing("k", name="kept", value=5)', ("destroy", ""),
    ],
    "transforms": [
        TRANSFORMS[0], ("preview", TRANSFORMS[1]), TRANSFORMS[1], ("preview", BROKEN), INVOKES, ("destroy", ""),
    ],
    "references": [
        use("base"), REFERRED.replace("VALUE", "1"), use("dev"), ("preview", REFERRING), REFERRING, REFERRING,
        use("base"), REFERRED.replace("VALUE", "2").replace("a.arn)", "a.id)"), use("dev"), ("refresh", ""), REFERRING,
        'pulumi.StackReference("nowhere")', 'b = Thing("b", value=1)', ("destroy", ""),
    ],
    "inherited": [INHERITED[0], INHERITED[1], ("destroy", "")],
    "elsewhere": [DRIFTED, drift, ("refresh", ""), DRIFTED, READ, IMPORTED, IMPORTED, ("destroy", "")],
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_both_engines_do_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE)
    real, embedded = Real(tmp_path / "real"), Embedded(tmp_path / "embedded")
    for number, act in enumerate(PROGRAMS[name]):
        if callable(act):
            act(real)
            act(embedded)
            continue
        operation, source, *more = ("up", act) if isinstance(act, str) else act
        targets: tuple[str, ...] = tuple(more[0]) if more else ()
        for lab in (real, embedded):
            lab.write(source)
        found = differences(real.operate(operation, targets), embedded.operate(operation, targets))
        assert not found, f"step {number}, {operation}:\n" + "\n".join(found)
        assert real.things() == embedded.things()


def test_the_cli_takes_over_our_state_and_we_take_over_its(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE)
    ours, theirs = Embedded(tmp_path), Real(tmp_path)  # one folder: one program, one cloud
    ours.write(LIFE)
    ours.engine().up()
    state = ours.engine().state_file
    theirs.run("stack", "import", "--file", str(state))
    theirs.run("preview", "--expect-no-changes")
    theirs.write(LIFE_EDITED)
    theirs.run("up", "--yes", "--skip-preview")
    state.write_text(theirs.run("stack", "export").stdout)
    before = ours.things()
    assert not ours.engine().up().changed
    assert ours.engine().destroy().summary == {"delete": 6}
    assert before
    assert ours.things() == {}
    assert json.loads(state.read_text())["deployment"].get("resources", []) == []
