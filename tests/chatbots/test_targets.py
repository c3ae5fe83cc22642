"""Who may be spoken to: nobody but who was listed, however an address is written."""

import json
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from yarl import URL

from evalqueue.evaluators.chatbots.targets import (
    AllowedHost,
    ChatbotSettings,
    Reach,
    Target,
    TargetRefused,
    check,
    credentials,
)

LOCAL = ChatbotSettings(hosts="localhost")
KAIRA = ChatbotSettings(hosts="kaira.example.com, localhost:8723")

NEVER = [
    # not http at all
    "file:///etc/passwd",
    "ftp://kaira.example.com/",
    "gopher://localhost:8723/_POST",
    "unix:///var/run/docker.sock",
    "javascript:alert(1)",
    "kaira.example.com",
    "//kaira.example.com",
    "http:/kaira.example.com",
    "http:kaira.example.com",
    "https:///kaira.example.com",
    "https://",
    "",
    # another host behind the one that is read first
    "https://kaira.example.com@evil.example/",
    "https://evil.example@kaira.example.com/",
    "https://user:secret-word@kaira.example.com/",
    "https://kaira.example.com:443@evil.example/",
    "https://evil.example#@kaira.example.com/",
    "https://evil.example?@kaira.example.com/",
    "https://evil.example\\@kaira.example.com/",
    "https://kaira.example.com\\.evil.example/",
    "https://kaira.example.com%2eevil.example/",
    "https://kaira.example.com%00.evil.example/",
    "https://kaira.example.com\x00.evil.example/",
    "https://kaira.example.com\r\nHost: evil.example/",
    "https://kaira.example.com/\r\nX: y",
    "https://kaira.example.com\t/",
    " https://kaira.example.com/",
    "https://kaira.example.com /",
    # names that only look like it
    "https://kaira.example.com./",
    "https://kaira.example.com../",
    "https://.kaira.example.com/",
    "https://kaira..example.com/",
    "https://evil.kaira.example.com/",
    "https://kaira.example.com.evil.example/",
    "https://kaira-example.com/",
    "https://xkaira.example.com/",
    "https://kaıra.example.com/",
    "https://kaira。example.com/",
    "https://ⓚaira.example.com/",
    "https://xn--kara-0wa.example.com/",
    "https://-kaira.example.com/",
    "http://foo.localhost:8723/",
    "http://localhost.:8723/",
    "http://localhost.localdomain:8723/",
    "http://[localhost]:8723/",
    # this machine, in disguise
    "http://2130706433:8723/",
    "http://017700000001:8723/",
    "http://0x7f000001:8723/",
    "http://0x7f.1:8723/",
    "http://0177.0.0.1:8723/",
    "http://127.1:8723/",
    "http://127.0.1:8723/",
    "http://127.0.0.1.:8723/",
    "http://127.0.0.01:8723/",
    "http://127.0.0.1.5:8723/",
    "http://127.0.0.256:8723/",
    "http://①②⑦.⓪.⓪.①:8723/",
    "http://0:8723/",
    "http://0.0.0.0:8723/",
    "http://[::]:8723/",
    "http://[::ffff:0.0.0.0]:8723/",
    "http://[::127.0.0.1]:8723/",
    "http://[::1%25lo]:8723/",
    "http://[::1%lo]:8723/",
    "http://[v1.fe80::a]:8723/",
    "http://::1:8723/",
    "http://[::1:8723/",
    "http://::1]:8723/",
    # other machines
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[fe80::1]/",
    "http://metadata.google.internal/",
    "http://10.0.0.1/",
    "http://192.168.1.1/",
    "http://172.16.0.1/",
    "http://100.100.100.200/",
    "http://93.184.215.14/",
    "http://255.255.255.255/",
    "http://224.0.0.1/",
    # ports
    "http://localhost:0/",
    "http://localhost:65536/",
    "http://localhost:99999/",
    "http://localhost:8724/",
    "http://localhost/",
    "http://localhost:/",
    "http://localhost:8723:80/",
    "http://localhost:+8723/",
    "http://localhost:-1/",
    "http://localhost:8723 /",
    "http://localhost:８７２３/",
    # what follows
    "https://kaira.example.com/?key=secret-word",
    "https://kaira.example.com/#x",
    "https://kaira.example.com/a/../b",
    "https://kaira.example.com/%2e%2E/b",
    "https://kaira.example.com/./b",
    "https://kaira.example.com/a b",
    "https://kaira.example.com/%zz",
    "https://kaira.example.com/\\evil.example/",
    "https://kaira.example.com/" + "a" * 3_000,
    f"https://{'a' * 64}.example.com/",
]


@pytest.mark.parametrize("url", NEVER)
def test_an_address_that_nobody_listed_is_refused_however_it_is_written(url: str) -> None:
    with pytest.raises(TargetRefused) as refused:
        check(url, KAIRA, protocol="any")

    assert str(refused.value).endswith(".")
    assert "secret-word" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://kaira.example.com", "https://kaira.example.com"),
        ("HTTPS://Kaira.Example.COM:443/", "https://kaira.example.com"),
        ("http://kaira.example.com:443/a/b/", "http://kaira.example.com:443/a/b"),
        ("https://kaira.example.com/a%20b/c;d=1,2", "https://kaira.example.com/a%20b/c;d=1,2"),
        ("http://localhost:8723", "http://localhost:8723"),
        ("http://127.0.0.1:8723/", "http://127.0.0.1:8723"),
        ("http://127.9.9.9:08723/", "http://127.9.9.9:8723"),
        ("http://[::1]:8723", "http://[::1]:8723"),
        ("http://[0:0:0:0:0:0:0:1]:8723", "http://[::1]:8723"),
        ("http://[::ffff:127.0.0.1]:8723", "http://127.0.0.1:8723"),
    ],
)
def test_a_listed_address_is_taken_in_its_plainest_form(url: str, read: str) -> None:
    assert check(url, KAIRA, protocol="any").url == read


PARTS = st.lists(
    st.sampled_from(
        ["http", "https", ":", "/", "//", "://", "@", "#", "?", "\\", "[", "]", "%", "%2f", ".",
         "localhost", "kaira.example.com", "evil.example", "127.0.0.1", "::1", "::ffff:", "8723",
         "..", "0x7f", "1", "0", "。", "\t", "\n", "\x00", "é", "xn--", "-"]
    ),
    max_size=12,
).map("".join)  # fmt: skip


@given(PARTS.map("http://".__add__) | PARTS | st.text())
@example("http://localhost:8723/127.0.0.1")
def test_what_is_let_through_is_read_alike_by_everybody(text: str) -> None:
    try:
        target = check(text, KAIRA, protocol="any")
    except TargetRefused:
        return
    for host, port in (
        (urlsplit(target.url).hostname, urlsplit(target.url).port),
        (URL(target.url).raw_host, URL(target.url).port),
    ):
        assert host == target.host
        assert port in (target.port, None)
    assert target.host == "kaira.example.com" or target.port == 8723


@pytest.mark.parametrize(
    ("hosts", "url"),
    [
        ("10.0.0.0/8", "http://10.1.2.3:8000"),
        ("10.1.2.3", "http://10.1.2.3:8000"),
        ("10.1.2.3:8000", "http://10.1.2.3:8000"),
        ("[fd00::5]:8000", "http://[fd00::5]:8000"),
        ("fd00::/8", "http://[fd00::5]:8000"),
        ("127.0.0.0/8", "http://127.0.0.1:1"),
        (" localhost ,, Kaira.example.com:444", "https://kaira.example.com:444"),
        ("169.254.0.0/16", "http://169.254.169.254"),
    ],
)
def test_networks_addresses_and_ports_can_be_listed(hosts: str, url: str) -> None:
    assert check(url, ChatbotSettings(hosts=hosts), protocol="any").url == url


@pytest.mark.parametrize(
    ("hosts", "url"),
    [
        ("10.1.2.3:8000", "http://10.1.2.3:8001"),
        ("kaira.example.com:444", "https://kaira.example.com"),
        ("10.0.0.0/8", "http://localhost:8000"),
        ("10.0.0.0/8", "http://intranet.example.com"),
        ("169.0.0.0/8", "http://169.254.169.254"),
        ("0:0::/8", "http://127.0.0.1"),
        ("", "http://localhost:9"),
    ],
)
def test_what_is_listed_is_all_there_is(hosts: str, url: str) -> None:
    with pytest.raises(TargetRefused):
        check(url, ChatbotSettings(hosts=hosts), protocol="any")


@pytest.mark.parametrize(
    "hosts",
    ["0.0.0.0/0", "::/0", "*.example.com", "10.0.0.1/8", "localhost,https://user:secret-word@x/",
     "a b", "localhost:0", "localhost:99999", "127.1", "kaira.example.com."],
)  # fmt: skip
def test_a_slip_in_the_list_is_refused_by_its_place_and_not_repeated(
    hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALQUEUE_CHATBOT_HOSTS", hosts)
    with pytest.raises(ValidationError) as refused:
        ChatbotSettings()

    assert "EVALQUEUE_CHATBOT_HOSTS" in str(refused.value)
    assert "Entry " in str(refused.value)
    assert "secret-word" not in str(refused.value)


def test_the_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALQUEUE_CHATBOT_HOSTS", "kaira.example.com:8443")
    monkeypatch.setenv("EVALQUEUE_CHATBOT_URL", "https://kaira.example.com:8443")
    monkeypatch.setenv(
        "EVALQUEUE_CHATBOT_CREDENTIALS",
        '{"one": {"user_id": "u1", "token": "secret-word", "host": "kaira.example.com:8443"}}',
    )

    found = ChatbotSettings()

    assert found.hosts == (AllowedHost(name="kaira.example.com", port=8443),)
    assert found.url is not None
    target = check(found.url.get_secret_value(), found, protocol="any")
    (credential,) = credentials(["one"], target, found)
    assert credential.token.get_secret_value() == "secret-word"
    assert "secret-word" not in f"{found!r} {found} {credential!r} {target!r}"


@pytest.mark.parametrize("variable", ["EVALQUEUE_API_TOKENS", "EVALQUEUE_OIDC_ISSUER"])
def test_where_callers_sign_in_no_host_is_allowed_that_was_not_listed(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "something")
    with pytest.raises(TargetRefused, match="EVALQUEUE_CHATBOT_HOSTS"):
        check("http://localhost:8723", ChatbotSettings(), protocol="any")
    monkeypatch.setenv("EVALQUEUE_CHATBOT_HOSTS", "kaira.example.com,localhost")
    with pytest.raises(ValidationError, match="Entry 2: .*localhost needs a port"):
        ChatbotSettings()
    monkeypatch.setenv("EVALQUEUE_CHATBOT_HOSTS", "localhost:8723")
    listed = ChatbotSettings()
    assert check("http://127.0.0.1:8723", listed, protocol="any").reach == Reach(is_loopback=True)
    with pytest.raises(TargetRefused):
        check("http://localhost:5432", listed, protocol="any")


def test_without_any_settings_only_this_machine_may_be_spoken_to() -> None:
    assert check("http://localhost:1", ChatbotSettings(), protocol="any").reach == Reach(
        is_loopback=True
    )
    assert ChatbotSettings().hosts == (AllowedHost(name="localhost"),)


ONE = {"user_id": "u", "token": "secret-word", "host": "localhost"}


@pytest.mark.parametrize(
    "text",
    [
        "secret-word",
        '["secret-word"]',
        '{"one": "secret-word"}',
        json.dumps({"one": ONE | {"name": "secret-word"}}),
        json.dumps({"one": ONE | {"tokn": "secret-word"}}),
        json.dumps({"one": {"token": "secret-word", "host": "localhost"}}),
        json.dumps({"one": ONE | {"user_id": ""}}),
        json.dumps({"one": ONE | {"token": ""}}),
        json.dumps({"one": ONE | {"token": "secret-word\n"}}),
        json.dumps({"one": ONE | {"token": "secret-wörd secret-word"}}),
        json.dumps({"one": ONE | {"token": ["secret-word"]}}),
        json.dumps({"one": ONE | {"host": "https://localhost/secret-word"}}),
        json.dumps({"one": ONE | {"host": ""}}),
    ],
)
def test_a_slip_in_the_credentials_names_the_variable_and_no_value(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALQUEUE_CHATBOT_CREDENTIALS", text)
    with pytest.raises(ValidationError) as refused:
        ChatbotSettings()

    assert "EVALQUEUE_CHATBOT_CREDENTIALS" in str(refused.value)
    assert "secret-word" not in str(refused.value)


def keys(**hosts_and_users: tuple[str, str]) -> ChatbotSettings:
    return ChatbotSettings(
        hosts="localhost, kaira.example.com",
        credentials={
            name: {"user_id": user, "token": f"token-of-{name}", "host": host}
            for name, (host, user) in hosts_and_users.items()
        },
    )


def aim(url: str, settings: ChatbotSettings) -> Target:
    return check(url, settings, protocol="any")


def test_a_user_of_the_bot_counts_once_whatever_the_case_of_its_id() -> None:
    settings = keys(a=("localhost", "User-1"), b=("localhost", "user-1"), c=("localhost", "user-2"))

    found = credentials(["c", "a", "b", "c"], aim("http://127.0.0.1:1", settings), settings)

    assert [credential.name for credential in found] == ["c", "a"]


def test_an_unknown_credential_is_refused_by_its_name() -> None:
    settings = keys(a=("localhost", "u"))

    with pytest.raises(
        TargetRefused, match=r"There is no credential 'b' \(there are: a\)"
    ) as refused:
        credentials(["b"], aim("http://localhost:1", settings), settings)

    assert "token-of" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("kaira.example.com", "http://localhost:1"),
        ("localhost", "https://kaira.example.com"),
        ("kaira.example.com:8443", "https://kaira.example.com"),
        ("localhost:8723", "http://localhost:8724"),
        ("example.com", "https://kaira.example.com"),
    ],
)
def test_a_credential_is_refused_for_any_host_but_its_own(host: str, url: str) -> None:
    settings = keys(a=(host, "u"))

    with pytest.raises(TargetRefused, match="sent nowhere else"):
        credentials(["a"], aim(url, settings), settings)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("Kaira.Example.com", "https://kaira.example.com"),
        ("kaira.example.com:443", "https://kaira.example.com"),
        ("localhost", "http://[::1]:5"),
        ("localhost:5", "http://127.0.0.1:5"),
        ("127.0.0.1", "http://127.0.0.1:5"),
    ],
)
def test_a_credential_fits_its_own_host(host: str, url: str) -> None:
    settings = keys(a=(host, "u"))

    assert len(credentials(["a"], aim(url, settings), settings)) == 1


PUBLIC = ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
NOT_PUBLIC = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.31.0.1", "192.168.0.1",  # noqa: S104
    "169.254.169.254",
    "100.64.0.1", "100.100.100.200", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1",
    "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254",
    "ff02::1", "2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::", "2001:0:7f00:1::",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "4000::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_a_name_may_lead_to_a_public_address(address: str) -> None:
    assert Reach(is_public=True).refusal(address) is None
    assert Reach().refusal(address) is not None
    assert Reach(is_loopback=True).refusal(address) is not None


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_name_may_not_lead_inside(address: str) -> None:
    refusal = Reach(is_public=True).refusal(address)

    assert refusal is not None
    assert "EVALQUEUE_CHATBOT_HOSTS" in refusal


def test_localhost_is_loopback_and_nothing_else() -> None:
    reach = check("http://localhost:8723", LOCAL, protocol="any").reach
    inside = [each for each in NOT_PUBLIC + PUBLIC if reach.refusal(each) is None]

    assert inside == ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]


def test_a_name_may_lead_into_a_listed_network() -> None:
    settings = ChatbotSettings(hosts="kaira.example.com, 10.0.0.0/8, 192.168.0.7:8000")
    reach = check("http://kaira.example.com:80", settings, protocol="any").reach

    assert reach.refusal("10.9.9.9") is None
    assert reach.refusal("192.168.0.7") is not None  # another port
    assert reach.refusal("127.0.0.1") is not None


def test_a_token_goes_over_the_internet_by_https_only() -> None:
    settings = ChatbotSettings(hosts="kaira.example.com, 10.0.0.0/8")
    reach = check("http://kaira.example.com:80", settings, protocol="any").reach

    assert "https" in (reach.refusal("1.1.1.1", is_secret_in_clear=True) or "")
    assert reach.refusal("10.0.0.1", is_secret_in_clear=True) is None
