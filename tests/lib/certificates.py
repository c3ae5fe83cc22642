"""Certificates of a test, by a CA of its own."""

import shutil
import subprocess
from pathlib import Path

import pytest


def make_ca(folder: Path) -> tuple[Path, Path, Path]:
    """A CA's certificate, and a certificate of 127.0.0.1 by it with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command, to make a CA")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    names = folder / "names"
    names.write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    (folder / "ca.conf").write_text(
        "[req]\ndistinguished_name=name\nx509_extensions=ca\nprompt=no\n[name]\nCN=a CA\n"
        "[ca]\nbasicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n"
        "subjectKeyIdentifier=hash\n"
    )
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new_key, "-config", "ca.conf", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *new_key, "-subj", "/CN=mirror", "-keyout", "tls.key", "-out", "tls.csr")
    openssl(
        "x509", "-req", "-in", "tls.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
        "-days", "2", "-extfile", "names", "-out", "tls.pem",
    )  # fmt: skip
    return folder / "ca.pem", folder / "tls.pem", folder / "tls.key"
