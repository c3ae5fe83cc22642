"""What names and addresses of hosts mean."""

import pytest

from evalqueue.hosts import is_loopback


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST.", "ui.localhost", "::1", "[::1]"]
)
def test_this_machine_is_known_by_its_names(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "10.0.0.1", "::", "localhost.evil.example", "127.0.0.1.nip.io", "1.0.0.127"]
)
def test_other_names_are_not_this_machine(host: str) -> None:
    assert not is_loopback(host)
