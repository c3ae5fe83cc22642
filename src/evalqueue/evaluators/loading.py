"""Modules that are loaded in threads, since some take seconds."""

import importlib
import threading
from types import ModuleType

_LOADING = threading.RLock()


def load(module: str) -> ModuleType:
    """Import a module. Blocks: call it in a thread.

    Two threads that import libraries with common parts can each be given half of what the other is
    about to load, where one waits for the other. So they do it one after the other.
    """
    with _LOADING:
        return importlib.import_module(module)
