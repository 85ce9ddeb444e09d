"""Which id a word means; and ids of a table that the store does not have."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from featurestore.errors import ConfigError

NAMED = 10  # ids that a message names


def one_of(word: str, known: Mapping[str, str], what: str) -> str:
    """The id that a word means: an id, a name, or the beginning of one id alone.

    Args:
        word: what a person typed.
        known: name of each id.
        what: the noun, for the message.

    Raises:
        ConfigError: it means none, or several.
    """
    if word in known:
        return word
    meant = [one for one, name in known.items() if name == word] or [
        one for one, name in known.items() if word and word in (one[: len(word)], name[: len(word)])
    ]
    if len(meant) == 1:
        return meant[0]
    said = [f"{one} ({name})" if name != one else one for one, name in known.items()]
    fault = f"means {len(meant)} of them" if meant else "is none of them"
    raise ConfigError(f"{what} {word!r} {fault}; there is {_named(said)}. Give a whole id.")


@dataclass(frozen=True, kw_only=True)
class Strangers:
    """Ids of a table that the store does not have."""

    n: int  # ids of the table
    unknown: Sequence[str]
    likely: Mapping[str, str]  # of the unknown: the one id of the store that is alike

    def text(self, what: str) -> str:
        """What to tell of them; empty if there are none."""
        if not self.unknown:
            return ""
        names = _named([repr(one) for one in self.unknown])
        return f"{len(self.unknown):,} of {self.n:,} {what} are not in the store: {names}." + (
            self.hint()
        )

    def hint(self) -> str:
        """How many would be known if they were written otherwise; empty if none."""
        if not self.likely:
            return ""
        alike = _named([f"{ours!r} is likely {known!r}" for ours, known in self.likely.items()])
        return (
            f" {len(self.likely):,} of them would be, with zeros, case or blanks changed: {alike}."
            " Write the ids as the store has them."
        )


def strangers(ids: Iterable[str], known: Collection[str]) -> Strangers:
    """Find ids that are not among the known, and which known one each is likely to mean."""
    ids = list(dict.fromkeys(ids))
    known = set(known)
    alike: dict[str, set[str]] = {}
    for one in known:
        alike.setdefault(_bare(one), set()).add(one)
    unknown = [one for one in ids if one not in known]
    matches = {one: alike.get(_bare(one), set()) for one in unknown}
    return Strangers(
        n=len(ids),
        unknown=unknown,
        likely={one: min(may) for one, may in matches.items() if len(may) == 1},
    )


def _bare(name: str) -> str:
    """An id without what programs and people change: case, blanks, leading zeros, a final .0."""
    plain = re.sub(r"\s+|\.0$", "", name.casefold())
    return re.sub(r"(?<!\d)0+(?=\d)", "", plain)


def _named(some: Sequence[str]) -> str:
    more = f" and {len(some) - NAMED:,} more" if len(some) > NAMED else ""
    return ", ".join(some[:NAMED]) + more
