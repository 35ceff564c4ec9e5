"""The certificate: what is no pair of files is refused by the setting's name, with the reason."""

import os
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from hearth_gateway.cli import main
from hearth_gateway.settings import SettingsError
from hearth_gateway.tls import Certificate, trust

CERTIFICATE, KEY = "HEARTH_TLS_CERTIFICATE_FILE", "HEARTH_TLS_KEY_FILE"


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def pair(ca: trustme.CA, tmp_path: Path) -> tuple[Path, Path]:
    made = ca.issue_cert("127.0.0.1")
    made.cert_chain_pems[0].write_to_path(tmp_path / "crt")
    made.private_key_pem.write_to_path(tmp_path / "key")
    return tmp_path / "crt", tmp_path / "key"


def with_passphrase(file: Path) -> None:
    key = load_pem_private_key(file.read_bytes(), None)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))


def cut(file: Path) -> None:
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1][:20], lines[-1], ""]))


DAMAGE = [
    (CERTIFICATE, Path.unlink, "No such file"),
    (KEY, Path.unlink, "No such file"),
    (CERTIFICATE, lambda file: file.write_text("secret"), "holds no certificate in PEM"),
    (KEY, lambda file: file.write_text("secret"), "holds no private key in PEM"),
    (CERTIFICATE, cut, "is damaged"),
    (KEY, cut, "is damaged"),
    (KEY, with_passphrase, "has a passphrase"),
    (KEY, lambda file: trustme.CA().private_key_pem.write_to_path(file), "is not the certificate's"),
    (
        KEY,
        lambda file: trustme.CA(key_type=trustme.KeyType.RSA).private_key_pem.write_to_path(file),
        "is not the certificate's",
    ),
]


@pytest.mark.parametrize(("setting", "damage", "reason"), DAMAGE)
def test_what_cannot_be_used_stops_the_gateway(
    pair: tuple[Path, Path], setting: str, damage, reason: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name in [name for name in os.environ if name.startswith("HEARTH_")]:
        monkeypatch.delenv(name)
    for name, file in zip((CERTIFICATE, KEY), pair, strict=True):
        monkeypatch.setenv(name, str(file))
    broken = pair[setting == KEY]
    damage(broken)
    assert main(["serve"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{setting}={broken}: ")
    assert reason in error
    assert "secret" not in error


@pytest.mark.parametrize(("given", "missing"), [(CERTIFICATE, KEY), (KEY, CERTIFICATE)])
def test_one_file_without_the_other_stops_it_too(
    pair: tuple[Path, Path], given: str, missing: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.delenv(missing, raising=False)
    monkeypatch.setenv(given, str(pair[0]))
    assert main(["serve"]) == 2
    assert capsys.readouterr().err.startswith(f"{missing} is unset")


def test_only_todays_protocols_and_ciphers_are_spoken(pair: tuple[Path, Path]) -> None:
    context = Certificate(*pair).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE  # clients show no certificate
    for cipher in context.get_ciphers():
        assert cipher["aead"], cipher["name"]
        assert cipher["protocol"] == "TLSv1.3" or cipher["kea"] == "kx-ecdhe", cipher["name"]


def test_who_is_to_be_trusted_is_told_by_a_file_with_certificates(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    assert len(trust(pair[0]).get_ca_certs()) >= len(trust(None).get_ca_certs())
    for text, reason in (("no", "holds no certificate"), (None, "No such file")):
        file = tmp_path / "ca"
        file.unlink(missing_ok=True)
        if text:
            file.write_text(text)
        with pytest.raises(SettingsError, match=f"{file}: {reason}"):
            trust(file)
