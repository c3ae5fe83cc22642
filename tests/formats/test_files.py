"""Nothing but regular files of the data directory can be read by naming them."""

import gc
import os
import socket
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from evalqueue.evaluators.formats import FormatError
from evalqueue.evaluators.formats.data_directory import CHUNK_BYTES, FileError, read_confined

NOBODY = 65534  # the user id that owns nothing


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with a file, beside something secret."""
    (tmp_path / "secret.csv").write_text("secret")
    (tmp_path / "data-secret").mkdir()
    (tmp_path / "data-secret" / "a.csv").write_text("secret")
    inside = tmp_path / "data"
    (inside / "deep" / "er").mkdir(parents=True)
    (inside / "a.csv").write_text("inside")
    (inside / "deep" / "er" / "b.csv").write_text("deep inside")
    return inside


def refusal(data_dir: Path, data_path: str) -> str:
    with pytest.raises(FileError) as refused:
        read_confined(data_dir, data_path)
    return refused.value.reason


@pytest.mark.parametrize("data_path", ["a.csv", "./a.csv", ".//a.csv"])
def test_a_relative_path_is_read_from_the_data_directory(data_dir: Path, data_path: str) -> None:
    assert read_confined(data_dir, data_path) == b"inside"


def test_a_file_in_a_folder_is_read(data_dir: Path) -> None:
    assert read_confined(data_dir, "deep/er/b.csv") == b"deep inside"


def test_an_absolute_path_is_read_only_inside(data_dir: Path) -> None:
    assert read_confined(data_dir, str(data_dir / "a.csv")) == b"inside"
    assert "outside" in refusal(data_dir, str(data_dir.parent / "secret.csv"))
    assert "outside" in refusal(data_dir, str(data_dir) + "-secret/a.csv")


def test_the_data_directory_may_itself_be_a_link(data_dir: Path) -> None:
    link = data_dir.parent / "link"
    link.symlink_to(data_dir)

    assert read_confined(link, "a.csv") == b"inside"
    assert read_confined(link, str(link / "a.csv")) == b"inside"
    assert read_confined(link, str(data_dir / "a.csv")) == b"inside"


@pytest.mark.parametrize(
    "data_path",
    [
        "../secret.csv",
        "deep/../../secret.csv",
        "deep/../a.csv",
        "..",
        "/etc/passwd",
        "/",
        "a/../..",
    ],
)
def test_a_path_that_climbs_is_refused(data_dir: Path, data_path: str) -> None:
    assert "outside the data directory" in refusal(data_dir, data_path)


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret.csv", "/no/such/file", "/etc"])
def test_a_link_that_points_outside_is_refused(data_dir: Path, target: str) -> None:
    (data_dir / "link").symlink_to(target)

    assert "outside the data directory" in refusal(data_dir, "link")


def test_a_folder_that_is_a_link_to_outside_is_refused(data_dir: Path) -> None:
    (data_dir / "etc").symlink_to("/etc")

    assert "outside the data directory" in refusal(data_dir, "etc/passwd")
    assert "outside the data directory" in refusal(data_dir, str(data_dir / "etc" / "passwd"))


def test_a_link_that_stays_inside_is_followed(data_dir: Path) -> None:
    """Mounted configuration is made of such links."""
    (data_dir / "now").symlink_to("deep")
    (data_dir / "b.csv").symlink_to("now/er/b.csv")

    assert read_confined(data_dir, "b.csv") == b"deep inside"


def test_links_in_a_circle_are_refused(data_dir: Path) -> None:
    (data_dir / "one").symlink_to("two")
    (data_dir / "two").symlink_to("one")

    refusal(data_dir, "one")
    refusal(data_dir, "one/a.csv")


@pytest.mark.parametrize("way", ["/{}", "../{}", "link/{}"])
def test_a_refusal_does_not_tell_whether_a_file_outside_exists(data_dir: Path, way: str) -> None:
    (data_dir / "link").symlink_to(data_dir.parent)
    root = str(data_dir.parent).lstrip("/") + "/" if way.startswith("/") else ""

    there = refusal(data_dir, way.format(root + "secret.csv"))
    not_there = refusal(data_dir, way.format(root + "nothing.csv"))

    assert there == not_there


@pytest.mark.timeout(60)
def test_a_fifo_is_refused_without_waiting_for_its_writer(data_dir: Path) -> None:
    os.mkfifo(data_dir / "fifo")

    assert "not a regular file" in refusal(data_dir, "fifo")


@pytest.mark.timeout(60)
def test_a_device_is_refused(data_dir: Path) -> None:
    (data_dir / "zero").symlink_to("/dev/zero")

    assert "outside" in refusal(data_dir, "zero")
    assert "outside" in refusal(data_dir, "/dev/zero")
    assert "not a regular file" in refusal(Path("/dev"), "zero")


def test_a_directory_and_a_socket_are_refused(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal(data_dir, "deep")
    assert "itself" in refusal(data_dir, ".")
    assert "itself" in refusal(data_dir, str(data_dir))
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(data_dir)  # a socket's path must be short
        listening.bind("socket")
        refusal(data_dir, "socket")


@pytest.mark.parametrize("data_path", ["none.csv", "deep/none.csv", "none/a.csv", "a.csv/a.csv"])
def test_a_missing_file_says_what_to_do(data_dir: Path, data_path: str) -> None:
    assert "Put the file there" in refusal(data_dir, data_path)


@pytest.mark.parametrize("data_path", ["", "a.csv\0", "\ud800", "x" * 5_000])
def test_what_cannot_be_a_path_is_refused_as_such(data_dir: Path, data_path: str) -> None:
    assert "is not a path" in refusal(data_dir, data_path)


@pytest.mark.parametrize(
    "data_path", ["", "a.csv\0", "\ud800", "x" * 300, "x/" * 2_000, "x" * 5_000, "\n", "a.csv\n"]
)
def test_a_hostile_name_is_refused_in_a_short_message(data_dir: Path, data_path: str) -> None:
    with pytest.raises(FormatError) as refused:
        read_confined(data_dir, data_path)

    message = str(refused.value)
    assert len(message) < 300
    assert message.isprintable()
    message.encode()


def test_a_missing_data_directory_is_refused(tmp_path: Path) -> None:
    refusal(tmp_path / "none", "a.csv")


@pytest.fixture
def nobody(data_dir: Path) -> Generator[None]:
    """Root may read everything: be somebody who may not, for as long as the test lasts."""
    (data_dir / "a.csv").chmod(0)
    if os.geteuid() != 0:
        yield
        return
    for folder in (data_dir, *data_dir.parents[:3]):  # pytest's own, closed to others
        folder.chmod(0o755)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.usefixtures("nobody")
def test_a_file_without_permission_is_refused(data_dir: Path) -> None:
    assert "permission" in refusal(data_dir, "a.csv")


def test_a_file_may_be_as_large_as_the_limit_and_no_larger(data_dir: Path) -> None:
    size = CHUNK_BYTES + 1
    (data_dir / "large").write_bytes(b"x" * size)

    assert len(read_confined(data_dir, "large", max_bytes=size)) == size
    with pytest.raises(FileError, match=f"larger than {size - 1:,} bytes"):
        read_confined(data_dir, "large", max_bytes=size - 1)


def test_a_file_that_claims_to_be_empty_is_still_bounded() -> None:
    """The kernel's own files have size 0 and content: only reading tells."""
    if not Path("/proc/self/status").exists():
        pytest.skip("there is no /proc")
    own = Path("/proc") / str(os.getpid())

    assert read_confined(own, "status")
    with pytest.raises(FileError, match="larger than"):
        read_confined(own, "status", max_bytes=10)


def test_no_descriptor_is_left_open(data_dir: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("there is no /proc")
    gc.collect()  # what other tests left open is closed now, not meanwhile
    before = len(list(descriptors.iterdir()))

    for _ in range(20):
        read_confined(data_dir, "deep/er/b.csv")
        for refused in ("deep", "none", "deep/none/a.csv", "../secret.csv"):
            refusal(data_dir, refused)

    assert len(list(descriptors.iterdir())) == before


def test_a_link_put_in_after_the_check_is_not_followed(data_dir: Path) -> None:
    """A folder that is swapped for a link to outside, again and again, gives no secret away."""
    (data_dir / "honest").mkdir()
    (data_dir / "honest" / "a.csv").write_text("inside")
    (data_dir / "evil").symlink_to(data_dir.parent / "data-secret")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for kind in ("honest", "evil"):
                os.rename(data_dir / kind, data_dir / "folder")
                os.rename(data_dir / "folder", data_dir / kind)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        seen: set[bytes] = set()
        for _ in range(3_000):
            try:
                seen.add(read_confined(data_dir, "folder/a.csv"))
            except FileError:
                continue
    finally:
        stop.set()
        swapping.join()

    assert seen <= {b"inside"}
