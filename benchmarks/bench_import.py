"""What ``import functionfuse`` costs over a bare interpreter. Goal: at most 15 ms, no third-party module."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

ROUNDS = 21
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
LIST_MODULES = """
import json, sys
before = set(sys.modules)
import functionfuse
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)))
"""


def seconds(code: str) -> float:
    """Wall time of one interpreter that runs the code."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=ENVIRONMENT)
    return time.perf_counter() - start


def main() -> None:
    """Interleave bare and importing interpreters, and print the difference of the medians."""
    seconds("import functionfuse")  # compiled files are there
    pairs = [(seconds("pass"), seconds("import functionfuse")) for _ in range(ROUNDS)]
    bare, importing = (statistics.median(side) for side in zip(*pairs, strict=True))
    found = subprocess.run([sys.executable, "-c", LIST_MODULES], check=True, capture_output=True, text=True)
    print(f"bare {bare * 1e3:.1f} ms, importing {importing * 1e3:.1f} ms: +{(importing - bare) * 1e3:.1f} ms (goal 15)")
    print(f"modules beyond the standard library: {json.loads(found.stdout)} (goal ['functionfuse'])")


if __name__ == "__main__":
    main()
