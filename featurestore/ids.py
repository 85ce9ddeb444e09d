"""Which id a word means; and ids of a table that the store does not have."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from unicodedata import normalize

from featurestore.errors import ConfigError, TrephineError

NAMED = 10  # ids that a message names
WORD = re.compile(r"[\W_]+[^\W\d_]{3,}[\W\d_]*$")  # behind an id: "A1 addendum 2"


def meant(word: str, things: Iterable[Sequence[str]]) -> list[Sequence[str]]:
    """The things that a word means: by their ids, else names, else the beginning of either."""
    if not isinstance(word, str):
        raise ConfigError(f"a name must be a text, got {word!r}")
    things = list(things)
    for place in range(max(map(len, things), default=0)):
        if whole := [one for one in things if one[place : place + 1] == (word,)]:
            return whole
    return [one for one in things if word and any(own.startswith(word) for own in one)]


def one_of(
    word: str, known: Mapping[str, str], what: str, error: type[TrephineError] = ConfigError
) -> str:
    """The one id that a word means, of ids with their names; `what` is the noun, for the error."""
    found = [one[0] for one in meant(word, known.items())]
    if len(found) == 1:
        return found[0]
    said = [f"{one} ({known[one]})" if known[one] != one else one for one in found or known]
    fault = f"is the beginning of several: {named(said)}. Give a whole id"
    none = f"is none of those here: {named(said) or 'there is none'}"
    raise error(f"{what} {word!r} {fault if found else none}.")


@dataclass(frozen=True, kw_only=True)
class Strangers:
    """Ids of a table that the store does not have."""

    n: int  # ids of the table
    unknown: Sequence[str]
    likely: Mapping[str, str]  # of the unknown: the one id of the store that is alike

    def text(self, what: str, fault: str = "are not in the store") -> str:
        """What to tell of them; empty if there are none."""
        if not self.unknown:
            return ""
        names, n = named([*map(repr, self.unknown)]), len(self.unknown)
        return f"{n:,} of {self.n:,} {what} {fault}: {names}.{self.hint()}"

    def hint(self) -> str:
        """How many would be known if they were written otherwise; empty if none."""
        if not self.likely:
            return ""
        alike = named([f"{ours!r} is likely {known!r}" for ours, known in self.likely.items()])
        return (
            f" {len(self.likely):,} of them would be, but for case, blanks, zeros or a word: "
            f"{alike}. Write the ids as the store has them."
        )


def strangers(ids: Iterable[str], known: Collection[str]) -> Strangers:
    """Find ids that are not among the known, and which known one each is likely to mean."""
    ids, known = list(dict.fromkeys(ids)), set(known)
    alike: dict[str, list[str]] = {}
    for one in known:
        alike.setdefault(_bare(one), []).append(one)
    unknown = [one for one in ids if one not in known]
    likes = {one: (_bare(one), _bare(WORD.sub("", one))) for one in unknown}
    may = {one: next(filter(None, map(alike.get, names)), ()) for one, names in likes.items()}
    likely = {one: only[0] for one, only in may.items() if len(only) == 1}
    return Strangers(n=len(ids), unknown=unknown, likely=likely)


def _bare(name: str) -> str:
    """An id without what programs and people change: case, blanks, leading zeros, a final .0."""
    plain = re.sub(r"\s+|\.0$", "", normalize("NFKC", name).casefold())
    return re.sub(r"(?<!\d)0+(?=\d)", "", plain)


def named(some: Sequence[str]) -> str:
    """The first few of some names, and how many more there are."""
    more = f" and {len(some) - NAMED:,} more" if len(some) > NAMED else ""
    return ", ".join(some[:NAMED]) + more
