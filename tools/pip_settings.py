"""Prints pip's settings about where packages come from, as lines for `eval` in a shell.

pip reads its settings from files and from `PIP_*` variables. `tools/environment.sh` uses those that
name an index or say how to reach it, for pip and for uv. It leaves out the others (`user`,
`target`, `prefix`, `require-hashes`…), which are meant for other installations.
"""

import ast
import os
import shlex
import subprocess
import sys

NAMES = (
    "index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert",
    "client-cert", "proxy", "timeout", "retries", "keyring-provider", "cache-dir", "no-cache-dir",
)  # fmt: skip
_MORE_VARIABLES = {"PIP_CONFIG_FILE", "PIP_DEFAULT_TIMEOUT"}
FALSE = {"", "0", "false", "no", "off"}


def pip_settings() -> dict[str, str]:
    """The settings of `NAMES` that are set: of each, the value that pip would use.

    Where pip can't read its settings, what it says goes to stderr, and this process ends.
    """
    # Variables such as PIP_PYTHON would apply to this call.
    variables = {f"PIP_{name.upper().replace('-', '_')}" for name in NAMES} | _MORE_VARIABLES
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        check=False, stdout=subprocess.PIPE, text=True,
        env={
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PIP_") or name in variables
        },
    )  # fmt: skip
    if listed.returncode != 0:
        sys.exit(listed.stdout.strip() or 1)
    found: dict[tuple[int, str], str] = {}
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.partition(".")
        # A command's section is stronger than [global], and a variable is stronger than both.
        strength = {"global": 0, "install": 1, ":env:": 2}.get(section)
        name = {"default-timeout": "timeout"}.get(name, name)
        if strength is not None and name in NAMES:
            found[strength, name] = " ".join(str(ast.literal_eval(value)).split())
    return {name: value for (_, name), value in sorted(found.items())}


def uv_settings(pip: dict[str, str]) -> dict[str, str]:
    """The same for uv, which has other names for them and does not read pip's files."""
    found = {
        "UV_DEFAULT_INDEX": pip.get("index-url"),
        "UV_INDEX": pip.get("extra-index-url"),
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "UV_INSECURE_HOST": pip.get("trusted-host"),
        "UV_HTTP_TIMEOUT": pip.get("timeout"),
        "UV_HTTP_RETRIES": pip.get("retries"),
        "SSL_CLIENT_CERT": pip.get("client-cert"),
        # pip looks for a version in all indexes. The hashes are those of the lock in each of them.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    if pip.get("keyring-provider") == "subprocess":
        found["UV_KEYRING_PROVIDER"] = "subprocess"
    cert = pip.get("cert") or os.environ.get("REQUESTS_CA_BUNDLE")
    if cert:
        found["SSL_CERT_FILE"] = cert
    else:
        found["UV_SYSTEM_CERTS"] = "1"
    if proxy := pip.get("proxy"):
        proxy = proxy if "://" in proxy else f"http://{proxy}"
        found |= dict.fromkeys(("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"), proxy)
        found |= dict.fromkeys(("all_proxy", "https_proxy", "http_proxy"), proxy)
    # A variable of uv's own is the user's choice.
    return {
        name: value
        for name, value in found.items()
        if value and not (name.startswith("UV_") and name in os.environ)
    }


def main() -> None:
    settings = pip_settings()
    for name, value in settings.items():
        print(f"export PIP_{name.upper().replace('-', '_')}={shlex.quote(value)}")
    for name, value in uv_settings(settings).items():
        print(f"export {name}={shlex.quote(value)}")
    no_index = settings.get("no-index", "").lower() not in FALSE
    print(f"uv_options={'--no-index' if no_index else ''}")  # uv has no variable for it


if __name__ == "__main__":
    main()
