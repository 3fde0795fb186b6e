"""What a compiled pipeline holds, and what it does not."""

from __future__ import annotations

import ast
import base64
import bz2
import io
import json
import os
import random
import re
import subprocess
import sys
import zipfile

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler, dsl
from kfp.pipeline_spec import pipeline_spec_pb2
from kfp_functions import Counter, add, count_of, doubled, total

from functionfuse import workflow
from functionfuse.backends.addons._kfp.compile.sources import frontend_sources, imports_in
from functionfuse.backends.addons.kfpback import KFPWorkflow
from functionfuse.backends.secrets import Secret
from functionfuse.errors import CycleError, NodeError, OptionError, PlanError
from functionfuse.storage import FileStore

ALL_ARGS = {
    "cpu": 2,
    "memory": "4Gi",
    "accelerator": "nvidia.com/gpu",
    "accelerator_count": 2,
    "retries": 3,
    "backoff": 30,
    "env": {"MODE": "fast"},
    "secret_env": {"s3-secret": {"key": "AWS_ACCESS_KEY_ID"}},
    "secret_volume": {"tls": "/etc/tls"},
    "node_selector": {"pool": "big"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "labels": {"team": "science"},
    "timeout": 600,
    "image": "python:3.11-slim",
    "packages": ["numpy"],
    "caching": False,
}


@pytest.fixture
def compiled(tmp_path):
    """Return a function that compiles a workflow, and returns the pipeline and its Kubernetes settings by executor."""

    def compile_workflow(made, **options):
        made.compile(str(tmp_path / "pipeline.yaml"), **options)
        text = (tmp_path / "pipeline.yaml").read_text()
        spec, *platform = yaml.safe_load_all(text)
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(platform[0] if platform else {}, pipeline_spec_pb2.PlatformSpec())
        return spec, platform[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if platform else {}

    return compile_workflow


def new(*nodes, **options):
    return KFPWorkflow(*nodes, workflow_name="My workflow, v2", **options)


def container(spec, key):
    return spec["deploymentSpec"]["executors"][f"exec-{key}"]["container"]


def shipped(spec):
    """The zip that the root task writes."""
    text = container(spec, "code")["args"][-1]
    return zipfile.ZipFile(io.BytesIO(bz2.decompress(base64.b64decode(text))))


def test_the_pipeline(compiled):
    spec, _ = compiled(new(add(add(1, 2).set_name("a/b: 1"), 3).set_name("Last One")))
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,127}", spec["pipelineInfo"]["name"])
    assert sorted(spec["root"]["dag"]["tasks"]) == ["a-b-1", "code", "last-one"]
    assert spec["root"]["dag"]["tasks"]["last-one"]["taskInfo"]["name"] == "Last One"
    assert container(spec, "last-one")["image"] == f"python:{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.mark.parametrize(
    "names", [["x"] * 1 + ["X", "x!"], ["ä", "é"], ["n" * 1000, "n" * 999], ["code", "check-failures"]]
)
def test_names_that_look_alike(names, compiled):
    spec, _ = compiled(new(*[add(n).set_name(name) for n, name in enumerate(names)]))
    tasks = spec["root"]["dag"]["tasks"]
    assert sorted(task["taskInfo"]["name"] for task in tasks.values()) == sorted([*names, "code"])
    assert all(re.fullmatch(r"[a-z0-9-]{1,40}", key) for key in tasks)


def test_all_task_args(compiled):
    made = new(add(1).set_name("n"), add(2).set_name("other"))
    made.query("n").set_task_args(ALL_ARGS)
    spec, executors = compiled(made)
    task = spec["root"]["dag"]["tasks"]["n"]
    found = container(spec, "n")
    assert found["image"] == "python:3.11-slim"
    assert found["env"] == [{"name": "MODE", "value": "fast"}]
    assert found["resources"]["resourceCpuLimit"] == found["resources"]["resourceCpuRequest"] == "2"
    assert found["resources"]["resourceMemoryLimit"] == "4Gi"
    assert found["resources"]["accelerator"] == _accelerator("2")
    assert task["retryPolicy"]["maxRetryCount"] == 3
    assert task["retryPolicy"]["backoffDuration"] == "30s"
    assert "enableCache" not in task["cachingOptions"]
    platform = executors["exec-n"]
    assert platform["activeDeadlineSeconds"] == "600"
    assert platform["nodeSelector"]["labels"] == {"pool": "big"}
    assert platform["podMetadata"]["labels"] == {"team": "science"}
    assert platform["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert platform["secretAsEnv"][0]["keyToEnv"] == [{"envVar": "AWS_ACCESS_KEY_ID", "secretKey": "key"}]
    assert platform["secretAsVolume"][0]["mountPath"] == "/etc/tls"
    assert json.loads(shipped(spec).read("settings/n")) == {"env": {"MODE": "fast"}, "packages": ["numpy"]}
    assert "exec-other" not in executors


def test_a_profile(compiled, tmp_path):
    """Needs are limits of the pod; secrets of Kubernetes are referred to, others are read in the pod."""
    path = tmp_path / "profile.toml"
    path.write_text("""
        [nodes.n]
        cpus = 2
        memory = "4 GiB"
        accelerator = "nvidia.com/gpu"
        gpus = 2
        environment = { MODE = "fast", KEY = "k8s:store/key", TOKEN = "file:/run/token" }
        image = "python:3.11-slim"
        packages = ["numpy"]
        [nodes.n.engine.kfp]
        node_selector = { pool = "big" }
        env = { LEVEL = "3" }
    """)
    made = new(add(1).set_name("n"))
    made.apply_profile(path)
    spec, executors = compiled(made)
    found = container(spec, "n")
    assert found["image"] == "python:3.11-slim"
    assert found["env"] == [{"name": "MODE", "value": "fast"}, {"name": "LEVEL", "value": "3"}]
    assert found["resources"]["resourceCpuLimit"] == "2000m"
    assert found["resources"]["resourceMemoryLimit"] == str(4 << 30)
    assert found["resources"]["accelerator"] == _accelerator("2")
    platform = executors["exec-n"]
    assert platform["nodeSelector"]["labels"] == {"pool": "big"}
    assert [(one["secretName"], one["keyToEnv"]) for one in platform["secretAsEnv"]] == [
        ("store", [{"secretKey": "key", "envVar": "KEY"}])
    ]
    assert json.loads(shipped(spec).read("settings/n"))["packages"] == ["numpy"]


def test_a_secret_without_a_key(compiled):
    made = new(add(1).set_name("n"))
    made.query("n").set_environment({"KEY": Secret("k8s", "store")})
    with pytest.raises(OptionError, match="'n' takes the secret k8s:store; one of Kubernetes is k8s:secret/key"):
        compiled(made)


def _accelerator(count):
    """The old names of these fields, for servers before 2.1, and the present ones."""
    kind = "nvidia.com/gpu"
    return {"count": count, "type": kind, "resourceCount": count, "resourceType": kind}


def test_neutral_options(compiled):
    made = new(add(1).set_name("n"))
    made.query("n").set_resources(cpus=0.5, gpus=1, memory="2 GiB").set_retry(4, delay=1.5, backoff=3).set_timeout(90)
    spec, executors = compiled(made)
    resources = container(spec, "n")["resources"]
    assert (resources["resourceCpuLimit"], resources["resourceMemoryLimit"]) == ("500m", str(2 << 30))
    assert resources["accelerator"] == _accelerator("1")
    policy = spec["root"]["dag"]["tasks"]["n"]["retryPolicy"]
    assert (policy["maxRetryCount"], policy["backoffDuration"], policy["backoffFactor"]) == (4, "2s", 3.0)
    assert executors["exec-n"]["activeDeadlineSeconds"] == str(90 + 600)


def test_retries_that_the_engine_cannot_do(compiled):
    """It knows no exceptions, and no nodes of a group."""
    made = new(add(1).set_name("picky"), add(2).set_name("grouped"))
    made.query("picky").set_retry(4, delay=2, exceptions=OSError).set_timeout(10)
    made.query("grouped").set_retry(4)
    made = made.edit().collapse("grouped", name="g").done()
    spec, executors = compiled(made)
    assert executors["exec-picky"]["activeDeadlineSeconds"] == str(5 * 10 + (2 + 2 + 2 + 2) + 600)
    assert [task.get("retryPolicy") for task in spec["root"]["dag"]["tasks"].values()] == [None] * 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gpu": 1}, "has no setting 'gpu'; known: cpu, memory"),
        ({"cpu": "many"}, "'cpu' takes a number of cores"),
        ({"cpu": True}, "'cpu'"),
        ({"memory": "4 gigs"}, "'memory' takes"),
        ({"accelerator_count": -1}, "accelerator_count"),
        ({"env": {"A": 1}}, "'env' takes a mapping of strings"),
        ({"secret_env": {"s": "A"}}, "secret_env"),
        ({"tolerations": [{"taint": "x"}]}, "tolerations"),
        ({"packages": "numpy"}, "'packages' takes a list"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_wrong_task_args(wrong, message):
    """Refused at once."""
    with pytest.raises(OptionError, match=message):
        new(add(1)).query().set_task_args(wrong)


def test_part_of_a_gpu(compiled):
    made = new(add(1).set_name("n"))
    made.query("n").set_resources(gpus=0.5)
    with pytest.raises(OptionError, match=r"'n' asks for 0\.5 GPUs"):
        compiled(made)


# -- secrets


def test_no_credentials_of_the_registry_in_the_yaml(tmp_path, compiled):
    made = new(add(1).set_name("n"), registry_credentials={"username": "user-name", "password": "pass-word"})
    spec, executors = compiled(made)
    archive = shipped(spec)
    everything = (tmp_path / "pipeline.yaml").read_bytes() + b"".join(map(archive.read, archive.namelist()))
    secrets = [b"user-name", b"pass-word", *(base64.b64encode(secret)[:-4] for secret in (b"user-name", b"pass-word"))]
    assert [secret for secret in secrets if secret in everything] == []
    assert executors["exec-n"]["imagePullSecret"][0]["secretName"] == "my-workflow-v2-registry"


def test_a_registry_secret(tmp_path):
    credentials = {"username": "me", "password": "pw", "server": "registry.example"}
    made = new(add(1), registry_credentials=credentials, namespace="science")
    name = made.write_registry_secret(str(tmp_path / "secret.json"))
    manifest = json.loads((tmp_path / "secret.json").read_text())
    assert (manifest["kind"], manifest["type"]) == ("Secret", "kubernetes.io/dockerconfigjson")
    assert manifest["metadata"] == {"name": name, "namespace": "science"}
    login = json.loads(base64.b64decode(manifest["data"][".dockerconfigjson"]))["auths"]["registry.example"]
    assert base64.b64decode(login["auth"]) == b"me:pw"
    assert (tmp_path / "secret.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("wrong", [{"user": "me", "password": "hidden"}, {"username": "", "password": "hidden"}])
def test_wrong_registry_credentials(wrong):
    with pytest.raises(OptionError) as caught:
        new(add(1), registry_credentials=wrong)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("credentials", [None, {}, {"server": "registry.example"}, {"username": "me", "server": "r"}])
def test_registry_credentials_without_a_login(tmp_path, compiled, credentials):
    made = new(add(1).set_name("n"), registry_credentials=credentials, image_pull_secrets=["other"])
    made.set_registry_credentials(credentials)
    _, executors = compiled(made)
    assert [entry["secretName"] for entry in executors["exec-n"]["imagePullSecret"]] == ["other"]
    with pytest.raises(OptionError, match="a Secret needs a username and a password"):
        made.write_registry_secret(str(tmp_path / "secret.json"))


# -- code


def test_the_code(compiled):
    """It holds what the nodes need of the user's modules, and equal code makes equal bytes."""
    spec, _ = compiled(new(doubled(1).set_name("n")))
    assert {"kfp_functions.py", "kfp_helper.py", "__main__.py", "pods/n"} <= set(shipped(spec).namelist())
    again, _ = compiled(new(doubled(1).set_name("n")))
    assert spec == again


COMPILES = """
from kfp_functions import doubled
from functionfuse.backends.addons._kfp.compile.sources import frontend_sources, imports_in
from functionfuse.backends.addons.kfpback import KFPWorkflow
KFPWorkflow(doubled(1).set_name("n"), workflow_name="w").compile("pipeline.yaml")
"""


@pytest.mark.slow(reason="two processes that import kfp")
def test_every_process_makes_the_same_pipeline(tmp_path):
    texts = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", COMPILES], cwd=tmp_path, env=environment, check=True, timeout=120)
        texts.add((tmp_path / "pipeline.yaml").read_text())
    assert len(texts) == 1


def test_what_cannot_be_pickled(compiled):
    with pytest.raises(NodeError, match=r"'n' cannot be sent.*argument 'b' \(TextIOWrapper\)"):
        compiled(new(add(1, b=sys.__stdout__).set_name("n")))


def test_too_much_code(compiled):
    made = new(add(_noise(300_000)))
    with pytest.raises(PlanError, match=r"takes [45]\d\d,\d\d\d bytes, and a command line takes 122,880.*set_storage"):
        compiled(made)


def test_too_much_code_goes_through_the_store(compiled, tmp_path):
    made = new(add(_noise(300_000)))
    made.set_storage(FileStore(tmp_path / "store", durable=False))
    spec, _ = compiled(made)
    assert sum(map(len, container(spec, "code")["args"])) < 5_000


def _noise(size):
    return random.Random(1).randbytes(size)


def test_code_at_an_address(compiled, tmp_path):
    made = new(add(1), code="s3://bucket/code")
    spec, _ = compiled(made)
    (importer,) = [e["importer"] for e in spec["deploymentSpec"]["executors"].values() if "importer" in e]
    uri = importer["artifactUri"]["constant"]
    assert uri == "s3://bucket/code/" + made.write_code(str(tmp_path)).rpartition("/")[2]


def test_code_in_an_image(compiled, tmp_path):
    made = new(add(1).set_name("n"), code="image", baseimage="registry.example/mine:1")
    spec, _ = compiled(made)
    program = container(spec, "n")["command"][-1]
    assert made.write_dockerfile(str(tmp_path / "image")) == str(tmp_path / "image" / "Dockerfile")
    text = (tmp_path / "image" / "Dockerfile").read_text()
    assert f"COPY {program.rpartition('/')[2]} {program}\n" in text
    assert text.count("FROM registry.example/mine:1\n") == 1
    assert (tmp_path / "image" / program.rpartition("/")[2]).exists()
    assert list(spec["root"]["dag"]["tasks"]) == ["n"]


# -- caching


def test_cache_keys(compiled):
    """They change with what makes a result, and with nothing else."""

    def edition(number):
        if number == 1:

            @workflow
            def compute(x):
                return x + 1

        else:

            @workflow
            def compute(x):
                # a comment
                return x + (1 if number == 2 else 2) * 1

        return compute

    def keys(x, function=add):
        spec, _ = compiled(new(add(function(x).set_name("first"), 1).set_name("second"), add(9).set_name("other")))
        tasks = spec["root"]["dag"]["tasks"]
        return [tasks[key]["cachingOptions"].get("cacheKey") for key in ("first", "second", "other")]

    before, after = keys(1), keys(2)
    assert keys(1) == before
    assert all(before)
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True]
    assert keys(1, edition(1)) != before


def test_the_cache_is_left_alone_with_a_store(compiled, tmp_path):
    """A cached node would not be saved."""
    made = new(add(1).set_name("n"))
    made.set_storage(FileStore(tmp_path / "store", durable=False))
    spec, _ = compiled(made)
    assert spec["root"]["dag"]["tasks"]["n"]["cachingOptions"] == {}


# -- groups and limits


def test_four_hundred_nodes_in_few_pods(compiled, tmp_path):
    nodes = [add(n, 1).set_name(f"small {n}") for n in range(400)]
    made = new(total(nodes).set_name("sum"))
    made = made.edit().collapse("small .*", name="small").done()
    sizes = made.compile(str(tmp_path / "pipeline.yaml"))
    assert (sizes.nodes, sizes.pods) == (401, 2)
    assert "401 nodes in 2 pods" in str(sizes)


def test_a_group_that_needs_itself(compiled):
    first = add(1).set_name("first")
    last = add(add(first).set_name("between")).set_name("last")
    with pytest.raises(CycleError, match="collapsed step 'g' would need its own results, through 'between'"):
        new(last).edit().collapse("first|last", name="g").done()


def test_a_group_that_disagrees(compiled):
    made = new(add(1).set_name("a"), add(1).set_name("b"))
    made = made.edit().collapse(".*", name="g").done()
    made.query("a").set_task_args({"cpu": 1})
    made.query("b").set_task_args({"cpu": 2})
    with pytest.raises(PlanError, match="nodes of the collapsed step 'g' have not the same 'engine'"):
        compiled(made)


def test_many_inputs(compiled):
    made = new(total([add(n) for n in range(151)]).set_name("sum"))
    with pytest.warns(UserWarning, match="'sum' takes 151 results of other pods; above 150"):
        compiled(made)


def test_a_pipeline_that_is_too_large_for_etcd(compiled):
    made = new(*[add(n).set_name(f"{n} " + "x" * 40_000) for n in range(40)])
    with pytest.raises(PlanError, match=r"the pipeline takes 1,[67]\d\d,\d\d\d bytes, and etcd takes 1,572,864"):
        compiled(made)
    spec, _ = compiled(made, check_limits=False)
    assert len(spec["root"]["dag"]["tasks"]) == 41


def test_a_root_component_that_is_too_large_for_old_servers(compiled):
    made = new(*[add(n).set_name(f"{n} " + "x" * 10_000) for n in range(14)])
    with pytest.warns(UserWarning, match=r"the root component takes 14\d,\d\d\d bytes .* before .* 2.16 take 131,072"):
        compiled(made)


# -- a pipeline of one's own


def test_generate_pipeline(tmp_path):
    counter = Counter(1)
    counter.up(1)
    inner = new(count_of(counter)).generate_pipeline()

    @dsl.pipeline
    def outer():
        inner()

    compiler.Compiler().compile(outer, str(tmp_path / "outer.yaml"))
    spec = yaml.safe_load((tmp_path / "outer.yaml").read_text())
    assert list(spec["root"]["dag"]["tasks"]) == ["my-workflow-v2"]


def test_nothing_to_run(compiled, tmp_path):
    made = new(add(1))
    made.set_storage(FileStore(tmp_path / "store", durable=False))
    made.run()
    with pytest.raises(PlanError, match="all results are stored"):
        compiled(made, reuse="recipe")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseimage": " "}, "an image is a string"),
        ({"code": ""}, "code is"),
        ({"image_pull_secrets": "one"}, "a list of names, got 'one'"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(OptionError, match=message):
        new(add(1), **options)


def imported_when_it_runs(source, package):
    """Return the modules that a source imports, but for type checkers."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return imports_in(ast.unparse(tree).encode(), package)


def test_what_travels_of_function_fuse_imports_nothing_else_of_it():
    sources = {path.removeprefix("lib/"): source for path, source in frontend_sources().items()}
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in sources}
    missing = {
        (path, name)
        for path, source in sources.items()
        for name in imported_when_it_runs(source, path.removesuffix(".py").replace("/", ".").rpartition(".")[0])
        if name.startswith("functionfuse.") and name not in modules and name.rpartition(".")[0] not in modules
    }
    assert missing == set()
