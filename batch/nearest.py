"""Which known name a mistyped one is likely to mean."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of ``known`` that is nearest to ``name``, else nothing; dashes before options do not count."""
    import difflib  # for mistakes alone

    by_letters = {one.lstrip("-"): one for one in known}
    near = difflib.get_close_matches(name.lstrip("-"), by_letters, 1)
    return by_letters[near[0]] if near else ""
