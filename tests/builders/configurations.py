"""Configurations of any kind, made of what their fields say of themselves."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import MISSING, Field, fields, replace
from pathlib import Path
from typing import Any, get_args, get_origin

from hypothesis import strategies as st

from featurestore.errors import ConfigError
from featurestore.fields import about, types_of

WORDS = ["a", "two words", "it's", 'a "quote"', "1/2", "tissue > 0.5", "café", "$HOME"]


@st.composite
def configurations(draw: st.DrawFn, kind: type[Any]) -> Any:
    """Any configuration of a kind; a value that does not go with the others is left out."""
    needed = [one for one in fields(kind) if one.default is MISSING and not about(one).hidden]
    made = kind(**{one.name: draw(_values(kind, one)) for one in needed})
    for one in fields(kind):
        if one not in needed and not about(one).hidden and draw(st.booleans()):
            with suppress(ConfigError):
                made = replace(made, **{one.name: draw(_values(kind, one))})
    return made


def _values(kind: type[Any], one: Field[Any]) -> st.SearchStrategy[Any]:
    plain, _, choices = types_of(kind)[one.name]
    said = about(one)
    low, high = max(said.at_least, said.over, -1e6), min(said.at_most, said.under, 1e6)
    if choices:
        return st.sampled_from(choices)
    if plain is bool:
        return st.booleans()
    if plain is int:
        return st.integers(int(low), int(high))
    if plain is float:
        return st.floats(low, high)
    words = st.sampled_from(WORDS)
    if get_origin(plain) is tuple:
        parts = words if get_args(plain)[0] is str else st.integers(1, 1_000)
        return st.lists(parts, min_size=1, max_size=3).map(tuple)
    return words.map(lambda word: Path("/gone") / word) if plain is Path else words
