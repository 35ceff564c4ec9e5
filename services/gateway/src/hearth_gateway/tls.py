"""TLS: a certificate and its key in two files, read again when they change."""

import logging
import os
import ssl
from pathlib import Path
from typing import Any, cast

from hearth_gateway.errors import Problem
from hearth_gateway.settings import Settings, SettingsError

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of 1.3 are all good."""

_NO_PAIR = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
"""What OpenSSL says of a key that is another certificate's."""

log = logging.getLogger(__name__)


class _Connection(ssl.SSLObject):
    """Tells who speaks plain HTTP to the port what to do, instead of hanging up without a word."""

    _outgoing: ssl.MemoryBIO
    _told = False

    @classmethod
    def _create(cls, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *given: Any, **named: Any) -> "_Connection":
        made = cast("_Connection", super()._create(incoming, outgoing, *given, **named))  # type: ignore[misc]
        made._outgoing = outgoing
        return made

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLError as error:
            if error.reason != "HTTP_REQUEST" or self._told:
                raise
            self._told = True
            self._outgoing.write(_PLAIN_HTTP)
            raise ssl.SSLWantReadError from None  # what is in the buffer is sent, then the client's next byte ends it


def _plain_http() -> bytes:
    problem = Problem(400, "This port speaks TLS: the address begins with https://.", code="tls_required")
    body = problem.body()
    head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: "
    return f"{head}{len(body)}\r\n\r\n".encode() + body


_PLAIN_HTTP = _plain_http()


class Certificate:
    """The pair in force. `context` is for the server: a connection gets the pair that the files hold when it begins."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises SettingsError with the setting's name and the reason when the files are no pair."""
        self._files = certificate, key
        self._stamp = self._look()
        self.context = self._current = _load(certificate, key)
        self.context.sni_callback = self._choose  # called for each handshake, whether or not it names a server

    @classmethod
    def of(cls, settings: Settings) -> "Certificate | None":
        """The pair that the settings name; None where they name neither file."""
        certificate, key = settings.tls_certificate_file, settings.tls_key_file
        if certificate and key:
            return cls(certificate, key)
        if certificate or key:
            missing = "HEARTH_TLS_KEY_FILE" if certificate else "HEARTH_TLS_CERTIFICATE_FILE"
            raise SettingsError(f"{missing} is unset: certificate and key belong together")
        return None

    def _look(self) -> tuple[object, ...]:
        return tuple(_stamp(file) for file in self._files)

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if (stamp := self._look()) != self._stamp:
            self._stamp = stamp
            try:
                self._current = _load(*self._files)
                log.info("the certificate was read again")
            except SettingsError as error:  # perhaps the other file is still to come
                log.error("the last certificate stays in force: %s", error)
        connection.context = self._current


def _stamp(file: Path) -> object:
    try:
        stat = os.stat(file)
    except OSError as error:
        return error.errno
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _load(certificate: Path, key: Path) -> ssl.SSLContext:
    for name, file, noun in (
        ("HEARTH_TLS_CERTIFICATE_FILE", certificate, "CERTIFICATE"),
        ("HEARTH_TLS_KEY_FILE", key, "PRIVATE KEY"),
    ):
        try:
            there = f"{noun}-----".encode() in file.read_bytes()
        except OSError as error:
            raise SettingsError(f"{name}={file}: {error.strerror}") from None
        if not there:
            raise SettingsError(f"{name}={file}: holds no {noun.lower()} in PEM")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(certificate)  # only to learn which of the two it is; no client is asked for one
    except ssl.SSLError:
        raise SettingsError(f"HEARTH_TLS_CERTIFICATE_FILE={certificate}: is damaged") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    context.sslobject_class = _Connection
    try:
        context.load_cert_chain(certificate, key, _passphrase)
    except ssl.SSLError as error:
        reason = "is not the certificate's" if error.reason in _NO_PAIR else _plain(error.reason) or "is damaged"
        raise SettingsError(f"HEARTH_TLS_KEY_FILE={key}: {reason}") from None
    except _WantsPassphraseError:
        raise SettingsError(f"HEARTH_TLS_KEY_FILE={key}: has a passphrase, and nobody is there to type it") from None
    return context


class _WantsPassphraseError(Exception):
    pass


def _passphrase() -> str:
    raise _WantsPassphraseError


def _plain(reason: str | None) -> str:
    """OpenSSL's EE_KEY_TOO_SMALL, for people."""
    return (reason or "").lower().replace("_", " ")


def trust(certificates: Path | None) -> ssl.SSLContext:
    """What a client of the gateway believes: the system's CAs, and `certificates` (PEM), a CA's or the gateway's own.
    Raises SettingsError when they cannot be read."""
    context = ssl.create_default_context()
    if certificates:
        try:
            context.load_verify_locations(certificates)
        except OSError as error:  # ssl.SSLError is one
            reason = "holds no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
            raise SettingsError(f"{certificates}: {reason}") from None
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the gateway's own certificate is enough
    return context
