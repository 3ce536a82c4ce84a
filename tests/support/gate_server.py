"""A real Redis or Valkey server of a test, and an archive with spans that it verifies."""

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from manifold_ocr.compression.archive import build, payload
from manifold_ocr.compression.signatures import Codec

CODEC = Codec()
TEXT = " ".join(
    f"Item {n} of the invoice costs {n * 7 % 90}.{n % 100:02d} euros." for n in range(40)
)


def make_archive():
    return build([("invoice-7", TEXT.encode())], CODEC, keep="fast")


def span_of(archive, number=0, **changes):
    """A published span: a window of the text with its signature as the archive packs it."""
    entry = archive.documents[0].entries[number]
    span = {
        "id": f"span-{number}", "kind": "text", "text": entry.span.decode(),
        "signature": payload(entry, CODEC).hex(), "hazard": round(entry.hazard, 3),
        "repetitions": entry.count,
    }  # fmt: skip
    return {**span, **changes}


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt install openssl")
    certificate, key = folder / "server.pem", folder / "server.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
               "-subj", "/CN=gate", "-addext", "subjectAltName=IP:127.0.0.1",
               "-keyout", str(key), "-out", str(certificate)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


class Server:
    """A server on loopback with a password and every write on disk, killed at the end.

    With TLS nothing listens in the clear, and the user `gate` alone may log in.
    """

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        names = ("valkey-server", "redis-server")  # some builds of the first have no TLS
        found = [path for name in names[:: -1 if tls else 1] if (path := shutil.which(name))]
        if not found:
            pytest.skip("no redis-server or valkey-server is installed: apt install redis-server")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.command = [found[0], "--dir", str(folder), "--appendonly", "yes",
                        "--appendfsync", "always", "--save", ""]  # fmt: skip
        if tls:
            certificate, key = make_certificate(folder)
            self.command += [
                "--port", "0", "--tls-port", str(self.port), "--tls-cert-file", str(certificate),
                "--tls-key-file", str(key), "--tls-auth-clients", "no",
                "--user", "default", "off", "--user", "gate", "on", ">secret", "~*", "+@all",
            ]  # fmt: skip
            self.bare_url = f"rediss://gate:secret@127.0.0.1:{self.port}/0"
            self.url = f"{self.bare_url}?ssl_ca_certs={certificate}"
        else:
            self.command += ["--port", str(self.port), "--requirepass", "secret"]
            self.url = f"redis://:secret@127.0.0.1:{self.port}/0"

    def start(self):
        import redis

        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        self.base = redis.Redis.from_url(self.url)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                self.base.ping()
                return self
            except redis.ConnectionError:
                time.sleep(0.05)
        raise AssertionError("the server did not start")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
