"""Tesseract through its command line, as a peer on the same images."""

import io
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from manifold_ocr.errors import UserError
from manifold_ocr.models.base import ImageSource, Recognition, opened

TIMEOUT_SECONDS = 300


class Tesseract:
    """`tesseract` on lines (`--psm 7`) or whole pages (its default segmentation).

    `languages` is Tesseract's own syntax, e.g. `eng` or `chi_sim+eng`.
    """

    family = "tesseract"

    def __init__(self, languages: str = "eng", granularity: str = "line") -> None:
        """Check the program and its language data.

        Raises:
            UserError: tesseract or a language is not installed; names the Debian package.
        """
        if shutil.which("tesseract") is None:
            raise UserError("tesseract is not installed; `apt install tesseract-ocr`")
        listed = _run(["--list-langs"], b"").decode("utf-8", "replace").split()
        for language in languages.split("+"):
            if language not in listed:
                package = f"tesseract-ocr-{language.replace('_', '-')}"
                raise UserError(f"tesseract has no language {language!r}; `apt install {package}`")
        self.languages = languages
        self.psm = 7 if granularity == "line" else 3
        version = _run(["--version"], b"").decode("utf-8", "replace").split()
        self.name = f"tesseract-{version[1]}-{languages}-psm{self.psm}"

    def recognize(
        self, images: Iterable[ImageSource], prompts: Sequence[str] | None = None
    ) -> Iterator[Recognition]:
        """Yield one result an image; the mean word confidence is not asked for."""
        for image in map(opened, images):
            buffer = io.BytesIO()
            known = {"dpi": image.info["dpi"]} if image.info.get("dpi") else {}
            image.save(buffer, "PNG", **known)  # its segmentation depends on the resolution
            arguments = ["stdin", "stdout", "-l", self.languages, "--psm", str(self.psm)]
            text = _run(arguments, buffer.getvalue()).decode("utf-8", "replace")
            yield Recognition(re.sub(r"\n{3,}", "\n\n", text.replace("\f", "")).strip())

    def vision_tokens(self, size: tuple[int, int]) -> int:
        """Return 0: Tesseract feeds no decoder."""
        return 0


def _run(arguments: Sequence[str], data: bytes) -> bytes:
    environment: dict[str, Any] = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    try:
        done = subprocess.run(
            ["tesseract", *arguments],
            input=data,
            capture_output=True,
            check=True,
            timeout=TIMEOUT_SECONDS,
            env=environment,
        )
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise UserError(f"tesseract failed: {' '.join(last) or error.returncode}") from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"tesseract took over {TIMEOUT_SECONDS} s on one image") from error
    return done.stdout
