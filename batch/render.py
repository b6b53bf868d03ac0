"""Job scripts from templates; every value passes one quoting filter."""

from __future__ import annotations

import functools
import importlib
import re
from pathlib import Path
from typing import Any

import jinja2

from .errors import BatchError

_SAFE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+", re.ASCII)


class TemplateError(BatchError):
    """A template that is missing or cannot be filled."""


def quote(value: object) -> str:
    """The value as one word for a POSIX shell, whatever bytes it holds but NUL.

    Raises TemplateError for NUL, which no shell word can hold.
    """
    text = str(value)
    if "\0" in text:
        raise TemplateError("script: a value holds a NUL byte")
    if _SAFE.fullmatch(text):
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"


def render(template: str, **values: Any) -> str:
    """Fill a template of the package; raises TemplateError."""
    try:
        return _environment().get_template(template).render(**values)
    except jinja2.TemplateError as error:
        raise TemplateError(f"template: {template}: {error}") from error


def template_directory() -> Path:
    """Where the templates are installed."""
    # By name, because the folder lies beside this one in a checkout and inside it when installed.
    package = importlib.import_module(".templates", __package__)
    return Path(next(iter(package.__path__)))


@functools.lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(template_directory())),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # a shell script, not HTML: quote is its escape
    )
    environment.filters["q"] = quote
    return environment
