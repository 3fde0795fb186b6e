"""Run all benchmarks, or those named: ``hatch run bench [name ...]``.

Every figure is a ratio from one run on one machine, against the peer or bare code it names. Nothing here is
a test: a noisy machine gives noisy ratios, so look at medians over several runs.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run the scripts ``bench_<name>.py`` beside this file, each in a process of its own."""
    scripts = {path.stem.removeprefix("bench_"): path for path in sorted(Path(__file__).parent.glob("bench_*.py"))}
    unknown = set(sys.argv[1:]) - set(scripts)
    if unknown:
        print(f"unknown benchmark {sorted(unknown)[0]!r}; known: {', '.join(scripts)}")
        return 2
    failed = 0
    for name in sys.argv[1:] or scripts:
        print(f"== {name}", flush=True)
        failed += subprocess.run([sys.executable, scripts[name]], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
