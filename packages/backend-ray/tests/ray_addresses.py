"""Where the tests' clusters are, and where their workers find the test modules."""

from __future__ import annotations

from pathlib import Path

ADDRESS = "127.0.0.2"  # Ray takes 127.0.0.1 for the machine's address in the network
PATH = str(Path(__file__).parent)
