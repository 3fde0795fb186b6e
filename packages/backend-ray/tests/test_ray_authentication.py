"""Clusters that require a token, which a client sends only with RAY_AUTH_MODE=token."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from ray_addresses import started_head

from functionfuse import workflow
from functionfuse.backends.builtin.rayback import RayWorkflow

PROGRAM = """
import sys
from functionfuse import workflow
from functionfuse.backends.builtin.rayback import RayWorkflow

@workflow
def one():
    return 1

print(RayWorkflow(one(), workflow_name="token", ray_init_args={"address": sys.argv[1]}).run())
"""


@workflow
def nothing():
    return None


@pytest.fixture
def no_cluster(monkeypatch, tmp_path):
    """No cluster answers; the home folder is an empty one."""

    def refuse(**_):
        raise ConnectionError("ray client connection timeout")

    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)


def error_of_connection(address):
    with pytest.raises(ConnectionError) as caught:
        RayWorkflow(nothing(), workflow_name="w", ray_init_args={"address": address})
    return str(caught.value)


def test_the_error_names_the_address_and_the_mode(no_cluster):
    error = error_of_connection("ray://head:10001")
    assert error.startswith("cannot connect to Ray at 'ray://head:10001': ray client connection timeout; ")
    assert error.endswith(
        "if the cluster requires a token, start this process with RAY_AUTH_MODE=token in its environment"
    )


def test_the_error_names_a_token_file_that_is_not_sent(no_cluster, tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("a" * 32)
    ending = (
        f"RAY_AUTH_MODE=token in its environment: without it, the token in '{tmp_path}/.ray/auth_token' is not sent"
    )
    assert error_of_connection("ray://head:10001").endswith(ending)


def test_the_error_names_a_token_that_is_not_sent(no_cluster, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 32)
    assert error_of_connection("ray://head:10001").endswith("without it, the token in RAY_AUTH_TOKEN is not sent")


def test_the_mode_that_is_set_is_not_proposed(no_cluster, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert error_of_connection("ray://head:10001").endswith("and that the tokens are equal")


def test_other_addresses_keep_the_error_of_ray(no_cluster):
    assert error_of_connection("head:6379") == "ray client connection timeout"


@pytest.mark.slow(reason="a cluster that refuses a client, which waits")
def test_a_cluster_that_requires_a_token(tmp_path):
    pytest.importorskip("grpc", reason="clients of Ray need grpcio")
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("a" * 32)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parent)}
    with started_head(tmp_path, environment) as address:

        def run(**variables):
            command = [sys.executable, "-c", PROGRAM, address]
            return subprocess.run(
                command, env=environment | variables, capture_output=True, text=True, timeout=250, check=False
            )

        assert f"the token in '{token}' is not sent" in run().stderr
        for _ in range(3):  # on a busy machine, the server of a client may not start in time
            with_token = run(RAY_AUTH_MODE="token")
            if "Starting Ray client server failed" not in with_token.stderr:
                break
        assert with_token.stdout == "1\n", with_token.stderr
