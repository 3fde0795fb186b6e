"""The other minor of kfp that the package is for, in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

MINORS = ("2.16", "2.17")
HERE = Path(__file__).parent
PACKAGES = HERE.parents[1]
CORE = "containers or chain or two_objects or recursion or going_on or a_retry or retries or restart or traceback"

uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))


@pytest.mark.slow(reason="another environment, with another minor version of kfp")
@pytest.mark.skipif(not Path(uv).exists(), reason="uv is not installed")
@pytest.mark.parametrize("minor", [minor for minor in MINORS if not version("kfp").startswith(f"{minor}.")])
def test_the_other_minor(minor, tmp_path):
    """Compiling, kfp.local and the client, and a part of the conformance suite."""
    clean = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "UV_CONSTRAINT")}
    python = tmp_path / "environment" / "bin" / "python"
    packages = [f"kfp=={minor}.*", f"kfp-kubernetes=={minor}.*", "cloudpickle", "xxhash", "pytest"]
    for command in (["venv", "--python", sys.executable, str(python.parents[1])], ["pip", "install", *packages]):
        options = ["--python", str(python)] if command[0] == "pip" else []
        ended = subprocess.run([uv, *command, *options], env=clean, capture_output=True, text=True, check=False)
        if ended.returncode and "error sending request" in ended.stderr:
            pytest.skip("the package index cannot be reached")
        assert ended.returncode == 0, ended.stderr
    sources = [str(PACKAGES / name / "src") for name in ("frontend", "storage", "backend-kfp")]
    files = ["test_kfp_compile.py", "test_kfp_caching.py", "test_kfp_server.py"]
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *(str(HERE / file) for file in files)]
    for chosen in (command, [*command[:6], str(HERE / "test_kfp_conformance.py"), "-k", CORE]):
        env = clean | {"PYTHONPATH": os.pathsep.join(sources)}
        ended = subprocess.run(chosen, env=env, capture_output=True, text=True, cwd=PACKAGES.parent, check=False)
        assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]
        assert " passed" in ended.stdout
