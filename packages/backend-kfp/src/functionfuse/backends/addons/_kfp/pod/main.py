"""The first code of a pod: ``__main__`` of the zip that holds a workflow's code.

It is read by whatever Python the image has, so it keeps to what all of them understand until the version is checked.
"""

# mypy: ignore-errors

import os
import sys


def _read(name):
    return __loader__.get_data(os.path.join(__loader__.archive, name))  # noqa: PTH118


def _check_python(expected):
    """Exit with a message where Python could not read the code: bytecode does not cross minor versions."""
    found = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if found != expected:
        sys.exit(
            f"functionfuse: this pipeline was compiled with Python {expected}, and the image of this step has Python "
            f"{found}; use an image with Python {expected}, or compile with Python {found}"
        )


def _install(packages):
    """Install packages in a folder of this pod."""
    import subprocess
    import tempfile

    folder = tempfile.mkdtemp()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", folder]
    if subprocess.call(pip + packages):  # noqa: S603
        sys.exit(f"functionfuse: pip could not install {', '.join(packages)}")
    sys.path.insert(1, folder)


def _find_frontend(version, code_format):
    """Use the image's own Function Fuse if it is of these versions, else the one in the zip."""
    try:
        import functionfuse
        from functionfuse.backends.addons._kfp.pod import plan

        if functionfuse.__version__ == version and str(plan.FORMAT) == code_format:
            return
    except ImportError:
        pass
    for name in [name for name in sys.modules if name.partition(".")[0] == "functionfuse"]:
        del sys.modules[name]
    sys.path.insert(0, os.path.join(__loader__.archive, "lib"))  # noqa: PTH118


def main():
    """Check the image, install what the node needs, find the frontend, and run the pod that the arguments name."""
    python, version, code_format = _read("made_with").decode().split()
    _check_python(python)
    os.environ["FUNCTIONFUSE_KFP_POD"] = sys.argv[1]
    try:
        settings = _read("settings/" + sys.argv[1])
    except OSError:
        pass
    else:
        import json

        settings = json.loads(settings.decode())
        os.environ.update(settings["env"])
        if settings["packages"]:
            _install(settings["packages"])
    _find_frontend(version, code_format)
    from functionfuse.backends.addons._kfp.pod.process import run_pod

    run_pod(_read, *sys.argv[1:])


if __name__ == "__main__":
    main()
