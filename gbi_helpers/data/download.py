"""Downloads: whole and checked, or not at all; quick to give up without a network.

Every failure here is a :class:`DataError` of one sentence that says what to do.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from gbi_helpers.files import DataError, checked, part_file
from gbi_helpers.progress import progress_bar

NETWORK_ERRORS = (OSError, http.client.HTTPException)  # URLError, time-outs and TLS errors are OSErrors


class _TryAgainError(Exception):
    """A download that went wrong in a way that another try may mend."""


def offline() -> bool:
    """Whether ``GBI_OFFLINE`` forbids downloads."""
    return os.environ.get("GBI_OFFLINE", "0") not in ("", "0")


def reachable(urls: Sequence[str], seconds: float = 4.0) -> bool:
    """Whether any server of ``urls`` answers within so many ``seconds`` in all, a hanging name look-up included."""
    answers: queue.Queue[bool] = queue.Queue()
    for url in urls:
        threading.Thread(target=lambda url=url: answers.put(_answers(url, seconds)), daemon=True).start()
    end = time.monotonic() + seconds
    for _ in urls:
        with contextlib.suppress(queue.Empty):
            if answers.get(timeout=max(0.0, end - time.monotonic())):
                return True
    return False


def _answers(url: str, seconds: float) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
    except urllib.error.HTTPError:
        return True  # an error page is an answer too: a server is there
    except NETWORK_ERRORS:
        return False
    return True


def download(
    url: str, path: Path, digest: str | None, tries: int = 3, timeout: float = 5.0, pause: float = 0.5
) -> Path:
    """Fetch ``url`` to ``path`` unless a good file is there already; the file appears only whole and checked.

    ``digest``: the SHA-256 it must have, or None where none is known. ``timeout``: seconds without an answer before a
    try is given up; ``pause``: seconds before the second try, doubled for each further one. A bad file at ``path`` is
    replaced.
    Raises :class:`DataError` when offline, unreachable, wrong after all ``tries``, or not writable.
    """
    if path.exists():
        with contextlib.suppress(DataError):
            return checked(path, digest) if digest else path
        with contextlib.suppress(OSError):
            path.unlink()
    if offline():
        raise DataError(f"{path.name} is not here and GBI_OFFLINE is set: unset GBI_OFFLINE, or put it at {path}.")
    if not reachable([url], timeout):
        raise DataError(f"{path.name} is not here and {url} cannot be reached: check the network and try again.")
    for attempt in range(tries):
        time.sleep(pause * 2 ** (attempt - 1) if attempt else 0)
        try:
            with part_file(path) as part:
                _fetch(url, part, digest, timeout)
            return path
        except _TryAgainError as error:
            problem: Exception = error
        except OSError as error:
            cause = error.__cause__ or error
            raise DataError(
                f"{path.name} cannot be written to {path.parent} ({getattr(cause, 'strerror', None) or cause}): free "
                "some space, or set GBI_CACHE_DIR to another folder."
            ) from error
    raise DataError(
        f"{path.name} could not be downloaded from {url} in {tries} tries ({problem}): check the network and try again."
    ) from problem


def _fetch(url: str, part: Path, digest: str | None, timeout: float) -> None:
    """One try at writing what ``url`` sends. Network trouble is ``_TryAgainError``, disk trouble ``OSError``."""
    seen = hashlib.sha256()
    with _opened(url, timeout) as response, part.open("wb") as stream:
        total = int(response.headers.get("Content-Length") or 0)
        with progress_bar(total=total or None, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[-1]) as bar:
            while chunk := _read(response):
                stream.write(chunk)
                seen.update(chunk)
                bar.update(len(chunk))
        if stream.tell() < total:  # the bar counts nothing where bars are switched off
            raise _TryAgainError(f"the file broke off after {stream.tell()} of {total} bytes")
    if digest and seen.hexdigest() != digest:
        raise _TryAgainError("the file sent has another SHA-256 than the one expected")


def _opened(url: str, timeout: float) -> Any:
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers={"User-Agent": "gbi"}), timeout=timeout)
    except NETWORK_ERRORS as error:
        raise _TryAgainError(str(error) or type(error).__name__) from error


def _read(response: IO[bytes]) -> bytes:
    try:
        return response.read(1 << 16)
    except NETWORK_ERRORS as error:
        raise _TryAgainError(str(error) or type(error).__name__) from error
