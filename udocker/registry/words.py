"""What a registry says, made fit for one line on a terminal.

Answers of a registry are hostile input: nothing of them is shown but through ``printable``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_LIMIT = 300
_CODE_LIMIT = 64
_MAX_ERRORS = 8


def printable(text: str, limit: int = _LIMIT) -> str:
    """``text`` as one line of at most about ``limit`` characters, with control characters escaped."""
    # Joining first, so that a body of line breaks does not use up the limit.
    line = " ".join(text[: 4 * limit].split())
    shown = "".join(char if char.isprintable() else _escaped(char) for char in line[:limit])
    return shown + "…" if len(line) > limit or len(text) > 4 * limit else shown


def server_words(body: bytes) -> tuple[tuple[str, ...], str]:
    """The error codes of an answer's body and its words, both printable; either may be empty.

    Reads the error document of the OCI distribution specification (section Error Codes), what token
    servers send instead, and plain text.  A web page says nothing.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace").strip()
        return (), "" if text.startswith("<") else printable(text)
    if not isinstance(document, Mapping):
        return (), ""
    entries = list(_entries(document.get("errors")))
    if not entries:
        return (), _first_text(document, ("details", "message", "error_description", "error"))
    codes = tuple(code for code, _ in entries if code)
    return codes, "; ".join(dict.fromkeys(words for _, words in entries if words))


def _entries(errors: Any) -> Iterator[tuple[str, str]]:
    """Code and words of each error; a code alone, lower-cased, makes the words."""
    for entry in (errors if isinstance(errors, list) else [])[:_MAX_ERRORS]:
        if isinstance(entry, Mapping):
            code = _first_text(entry, ("code",))[:_CODE_LIMIT]
            yield code, _first_text(entry, ("message",)) or code.replace("_", " ").lower()


def _first_text(document: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    for key in keys:
        value = document.get(key)
        if isinstance(value, str) and value.strip():
            return printable(value)
    return ""


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
