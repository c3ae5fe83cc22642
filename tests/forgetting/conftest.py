"""The command line, and a client whose jobs are judged by a simulated vendor."""

from judged_runs import client
from tests.cli.conftest import shell

__all__ = ["client", "shell"]
