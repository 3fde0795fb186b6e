# ruff: noqa: E501
"""Profiles and files of needs: what they say, and what is wrong with them, with the file and the line."""

from __future__ import annotations

import json
import re
import tomllib

import pytest

from functionfuse.backends import profile
from functionfuse.backends.admission import Admission
from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.frames import Task
from functionfuse.backends.options import RESOURCES, Growing, Retry, StepOptions
from functionfuse.backends.plugins import InitializerPlugin
from functionfuse.backends.secrets import Secret, reference_in, resolved, without_secrets
from functionfuse.errors import OptionError, PlanError, ProfileError
from functionfuse.plan import Step
from functionfuse.testing.functions import same

initializer = InitializerPlugin(print)

PROFILE = """
version = 1

[classes.small]
cpus = 1
memory = "2 GiB"

[classes.gpu-small]
class = "small"
gpus = 1
accelerator = "T4"

[nodes.".*"]
timeout = 600
environment = { OMP_NUM_THREADS = "1", TOKEN = "env:TOKEN" }

[nodes."train.*"]
class = "gpu-small"
memory = { start = "4 GiB", retry = 2.0 }
retries = { times = 2, delay = 1.0, exceptions = ["builtins:MemoryError"] }
tags = ["gpu"]
image = "science:1"
packages = ["numpy"]
plugin = "test_frontend_profile:initializer"
cache = { version = 3, ignore = ["path"], max_age = 60 }

[nodes."train.*".engine.ray]
max_calls = 1

[limits]
gpu = 2

[env.cluster.classes.gpu-small]
accelerator = "A100"

[env.cluster.nodes.load]
cpus = 8
retries = 1

[env.cluster.limits]
gpu = 8
"""


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file of settings, and returns its path."""

    def written(text, name="profile.toml"):
        path = tmp_path / name
        path.write_text(text if isinstance(text, str) else json.dumps(text, indent=1))
        return path

    return written


def options_of(loaded, name):
    return [rule.options for rule in loaded.rules if rule.pattern.fullmatch(name)]


def test_what_holds_everywhere(write):
    loaded = profile.load(write(PROFILE))
    everything, train = options_of(loaded, "train_0")
    assert everything == {"timeout": 600.0, "environment": {"OMP_NUM_THREADS": "1", "TOKEN": Secret("env", "TOKEN")}}
    assert train == {
        "resources": {"cpus": 1, "gpus": 1, "memory": Growing(4 << 30, 2.0), "accelerator": "T4"},
        "retry": Retry(2, 1.0, 1.0, (MemoryError,)),
        "tags": ("gpu",),
        "image": "science:1",
        "packages": ("numpy",),
        "plugin": initializer,
        "version": 3,
        "max_age": 60,
        "ignore": ("path",),
        "engine": {"ray": {"max_calls": 1}},
    }
    assert loaded.limits == {"gpu": 2}


def test_an_environment_is_laid_over_it(write):
    loaded = profile.load(write(PROFILE), env="cluster")
    assert options_of(loaded, "train")[1]["resources"]["accelerator"] == "A100"
    assert options_of(loaded, "train")[1]["resources"]["cpus"] == 1
    assert options_of(loaded, "load")[1] == {"resources": {"cpus": 8}, "retry": Retry(1)}
    assert loaded.limits == {"gpu": 8}


def test_the_needs_of_a_scientist_come_first(write):
    needs = write({"nodes": {"train.*": "gpu-small", "load": {"cpus": 2, "custom": {"licence": 1}}}}, "resources.json")
    loaded = profile.load(write(PROFILE), env="cluster", needs=needs)
    asked, *_, granted = options_of(loaded, "load")
    assert asked == {"resources": {"cpus": 2, "custom": {"licence": 1}}}
    assert granted["resources"] == {"cpus": 8}
    assert loaded.rules[0].source == f"{needs}:3"


def test_an_amount_that_grows():
    memory = Growing(4 << 30, 2.0)
    assert [memory.at(attempt) for attempt in (1, 2, 3)] == [4 << 30, 8 << 30, 16 << 30]
    assert isinstance(memory.at(2), int)


WRONG = {
    "malformed": ("version = 1\n[nodes\n", "profile.toml:2:"),
    "unfinished": ("nodes = {", r"profile.toml:1:\d+: this is no TOML"),
    "an unknown key": ('[nodes.a]\ncpus = 1\nmemry = 2\n', "profile.toml:3: nodes.a.memry: is no key here; did you mean 'memory'"),
    "an unknown part": ("[node.a]\ncpus = 1\n", "profile.toml:1: node: is no key here; did you mean 'nodes'"),
    "an unknown class": ('[classes.small]\ncpus = 1\n[nodes.a]\nclass = "smal"\n', "4: nodes.a.class: no class is named 'smal'; did you mean 'small'"),
    "a circle": ('[classes.a]\nclass = "b"\n[classes.b]\nclass = "a"\n', "classes refer to each other in a circle: a -> b -> a"),
    "a class twice": ("[classes.a]\ncpus = 1\n[classes.a]\ncpus = 2\n", "profile.toml:3:"),
    "a negative amount": ("[nodes.a]\ncpus = -1\n", "2: nodes.a.cpus: an amount is a number, 0 or more, got -1"),
    "an infinite amount": ("[nodes.a]\ncpus = inf\n", "an amount is a number"),
    "no unit": ('[nodes.a]\nmemory = "4 GB of it"\n', "2: nodes.a.memory: an amount of memory is"),
    "a factor below one": ('[nodes.a]\nmemory = { start = 1, retry = 0.5 }\n', "2: nodes.a.memory.retry: the factor"),
    "no start": ("[nodes.a]\nmemory = { retry = 2.0 }\n", "an amount that grows has a start"),
    "a newer version": ("version = 2\n", "profile.toml:1: version: was written for version 2, this release reads 1"),
    "no pattern": ('[nodes."a("]\ncpus = 1\n', r'1: nodes."a\(": is no regular expression'),
    "no such plugin": ('[nodes.a]\nplugin = "no_such_module:x"\n', "2: nodes.a.plugin: 'no_such_module:x' cannot be imported"),
    "no plugin": ('[nodes.a]\nplugin = "builtins:len"\n', "2: nodes.a.plugin: "),
    "retries that are no number": ("[nodes.a]\nretries = true\n", "2: nodes.a.retries: times must be a whole number"),
    "a delay that is no number": ('[nodes.a]\nretries = { delay = "x" }\n', "2: nodes.a.retries: delay must be a number"),
    "the name of a variable": ('[nodes.a]\nenvironment = { "A=B" = "x" }\n', "2: nodes.a.environment: the name of an"),
    "negative retries": ("[nodes.a]\nretries = -1\n", "2: nodes.a.retries: times must be"),
    "no time limit": ("[nodes.a]\ntimeout = 0\n", "2: nodes.a.timeout: a time limit"),
    "a limit of none": ("[limits]\ngpu = 0\n", "2: limits.gpu: a limit is a whole number"),
    "a variable that is no text": ("[nodes.a.environment]\nN = 1\n", "2: nodes.a.environment.N: the value of a variable"),
    "a cache mode": ('[nodes.a]\ncache = "always"\n', "2: nodes.a.cache.mode: unknown cache mode 'always'"),
    "an age": ("[nodes.a]\ncache = { max_age = 0 }\n", "2: nodes.a.cache.max_age: max_age is a number of seconds above 0"),
    "a table that is none": ("nodes = 1\n", "1: nodes: a table is expected"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named(write, what):
    text, message = WRONG[what]
    with pytest.raises(ProfileError, match=message):
        profile.load(write(text))


def test_an_environment_that_is_not_there(write):
    with pytest.raises(
        OptionError, match=r"env: has no environment 'clustr'; did you mean 'cluster'\? \(known: 'cluster'\)"
    ):
        profile.load(write(PROFILE), env="clustr")


WRONG_NEEDS = {
    "malformed": ('{"nodes": {"a": }}', r"resources.json:1:17: this is no JSON"),
    "twice": ('{"nodes": {\n"a": "small",\n"a": "small"}}', r"resources.json:3: nodes.a: stands in line 2 already"),
    "what an engineer grants": ('{"nodes": {"a": {\n"image": "x"}}}', r"resources.json:2: nodes.a.image: is no key here"),
    "a class": ('{"nodes": {\n "a": "large"}}', r"resources.json:2: nodes.a.class: no class is named 'large'"),
    "a list": ("[]", r"resources.json:1: holds a list; a table is expected"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG_NEEDS)
def test_wrong_needs(write, what):
    text, message = WRONG_NEEDS[what]
    with pytest.raises(ProfileError, match=message):
        profile.load(write(PROFILE), needs=write(text, "resources.json"))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ProfileError, match=re.escape(str(tmp_path / "no.toml")) + ": cannot be read"):
        profile.load(tmp_path / "no.toml")
    (tmp_path / "profile.yaml").write_text("")
    with pytest.raises(ProfileError, match=r"ends with \.toml or \.json"):
        profile.load(tmp_path / "profile.yaml")


# -- the schema


@pytest.fixture(scope="module")
def validator():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = json.loads(profile.SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


NO_SCHEMA = {  # what a schema of JSON cannot say
    *("malformed", "unfinished", "an unknown class", "a circle", "a class twice", "an infinite amount"),
    *("no pattern", "no such plugin", "no plugin", "the name of a variable"),
}


def test_the_schema_takes_what_the_loader_takes(validator):
    assert list(validator.iter_errors(tomllib.loads(PROFILE))) == []
    assert (
        list(validator.iter_errors({"nodes": {"train.*": "gpu-small", "load": {"cpus": 2, "custom": {"licence": 1}}}}))
        == []
    )


@pytest.mark.parametrize("what", sorted(WRONG.keys() - NO_SCHEMA))
def test_the_schema_refuses_what_the_loader_refuses(validator, what):
    text, _ = WRONG[what]
    assert not validator.is_valid(tomllib.loads(text))


def test_the_schema_knows_the_keys_of_the_loader(validator):
    definitions = validator.schema["$defs"]
    assert definitions["class"]["properties"].keys() == {*RESOURCES, "class"}
    assert definitions["rule"]["properties"].keys() == {*RESOURCES, "class", *profile._READERS}


# -- on a workflow


class Engine(BaseWorkflow):
    """A backend that grants some resources."""

    supports = BaseWorkflow.supports | {"image"}
    grants = {"cpus": 4, "custom": 2}  # noqa: RUF012

    def execute(self, run):
        for task in run.in_order():
            run.perform_here(task)


@pytest.fixture
def flow():
    return Engine(same(1).set_name("a"), same(2).set_name("b"), workflow_name="w")


def test_what_is_more_than_there_is(flow):
    flow.query("a").set_resources(cpus=5)
    flow.query("b").set_resources(cpus=4, custom={"licence": 3})
    assert flow.plan()["a"].reason == "needs 5 cpus, and Engine has 4"
    assert flow.plan()["b"].reason == "needs 3 licence, and Engine has 2"
    with pytest.raises(PlanError, match="needs 5 cpus"):
        flow.run()


def test_the_plan_shows_what_is_granted(write, flow):
    flow.apply_profile(write('[nodes.a]\ncpus = 2\nmemory = 5\n[nodes.b]\nimage = "i"\ncustom = { licence = 1 }\n'))
    assert str(flow.plan()).splitlines()[1:] == [
        "blocked a  Engine does not grant the resource 'memory' [cpus: 2, memory: 5]",
        "run     b  no store is set [licence: 1]",
    ]
    assert flow.plan()["b"].options.image == "i"


def test_queries_win_over_profiles(write, flow):
    flow.query("a").set_resources(cpus=1).set_timeout(5)
    flow.apply_profile(write("[nodes.a]\ncpus = 3\ntimeout = 7\ncustom = { licence = 1 }\n"))
    flow.apply_profile(write("[nodes.a]\ntimeout = 8\nretries = 2\n"))
    options = flow.plan()["a"].options
    assert (options.resources, options.timeout) == ({"cpus": 1, "custom": {"licence": 1}}, 5.0)
    assert options.retry == Retry(2)


def test_patterns_for_nodes_that_are_made_in_the_run(write, flow):
    flow.apply_profile(write('[nodes."a/.*"]\ntimeout = 5\n[nodes."(a/one|b/two)"]\ntimeout = 5\n'))
    with pytest.raises(ProfileError, match=r"'x/\.\*' as a whole"):
        flow.apply_profile(write('[nodes."x/.*"]\ntimeout = 5\n'))


def test_sections_of_engines(write, flow):
    flow.apply_profile(write("[nodes.a.engine.ray]\nmax_calls = 1\n"))  # of another engine
    assert flow.plan()["a"].action == "run"
    with pytest.raises(ProfileError, match=r"profile\.toml:1: no engine is named 'rai'; did you mean 'ray'"):
        flow.apply_profile(write("[nodes.a.engine.rai]\nmax_calls = 1\n"))


def test_secrets(monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("s\n")
    monkeypatch.setenv("FUNCTIONFUSE_TOKEN", "t")
    given = {"A": Secret("env", "FUNCTIONFUSE_TOKEN"), "B": Secret("file", str(tmp_path / "secret")), "C": "c"}
    assert resolved(given) == {"A": "t", "B": "s", "C": "c"}
    assert without_secrets(given) == {"C": "c"}
    assert [reference_in(text) for text in ("env:A", "a:b", "env:", "k8s:s/k")] == [
        Secret("env", "A"),
        "a:b",
        "env:",
        Secret("k8s", "s/k"),
    ]
    with pytest.raises(OptionError, match="the secret env:NOT_THERE is not there, where the node runs"):
        resolved({"A": Secret("env", "NOT_THERE")})


@pytest.mark.parametrize(
    "set_wrongly",
    [
        lambda query: query.set_resources(cpus=-1),
        lambda query: query.set_resources(cpus=True),
        lambda query: query.set_resources(memory="4 GB of it"),
        lambda query: query.set_resources(disk=-1),
        lambda query: query.set_resources(accelerator=""),
        lambda query: query.set_resources(custom={"licence": "one"}),
        lambda query: query.set_environment({"A": 1}),
        lambda query: query.set_environment("A=1"),
        lambda query: query.set_environment({"A=": "1"}),
        lambda query: query.set_environment({"": "1"}),
        lambda query: query.set_environment({"A": "1\0"}),
        lambda query: query.set_tags("a", ""),
    ],
)
def test_wrong_resources(flow, set_wrongly):
    with pytest.raises(OptionError):
        set_wrongly(flow.query("a"))


# -- admission


def task(name, **options):
    step = Step(name, None, (), {}, (), (), options=StepOptions(**options))
    return Task(FRAME, step)


FRAME = object()


def test_tasks_wait_for_what_they_need():
    admission = Admission({"cpus": 4, "memory": 10}, {"few": 1})
    large, small, other = task("l", resources={"cpus": 3}), task("s", resources={"cpus": 2}), task("o")
    assert [admission.admit(one) for one in (large, small, other)] == [True, False, True]
    assert admission.next() is None
    admission.release(large)
    assert admission.next() is small
    tagged = [task(f"t{n}", tags=("few", "unlimited"), resources={"cpus": 1, "gpus": 1}) for n in range(3)]
    assert [admission.admit(one) for one in tagged] == [True, False, False]
    admission.release(tagged[0])
    assert admission.next() is tagged[1]
    assert admission.next() is None
    admission.release(tagged[1])
    assert admission.next() is tagged[2]
