"""What a field of a noun or a configuration says of itself: help, limits, choices; and its JSON.

Declared once, it is the check where a value is made, the option on the command line and its
inverse, and the column in the ledger.
"""

import functools
import hashlib
import json
import math
import numbers
import shlex
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal, TypeVar

from featurestore.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class About:
    """What a field says of itself beside its type and default."""

    help: str = ""
    at_least: float = -math.inf
    at_most: float = math.inf
    over: float = -math.inf  # so that a number is finite unless it says otherwise
    under: float = math.inf
    option: str | None = None  # name on the command line; None: the field's own with dashes
    shown: str | None = None  # what help says of a default that is decided later
    hidden: bool = False  # no option of its own
    formerly: str = ""  # its name in files of earlier versions
    also: str = ""  # what else than the choices is taken: what has this form, with a colon


def setting(default: Any = MISSING, help: str = "", **about: Any) -> Any:
    """A field of a configuration, with its help and the limits of its values; see `About`."""
    return field(default=default, metadata={"about": About(help=help, **about)})


def about(one: Any) -> About:
    """What a dataclass field says of itself."""
    return typing.cast(About, one.metadata.get("about", About()))


@functools.cache
def types_of(kind: Any) -> dict[str, tuple[Any, bool, tuple[str, ...]]]:
    """Type of each field of a dataclass: the plain type, whether None is one, and the choices."""
    hints = typing.get_type_hints(kind)
    return {one.name: _plain(hints[one.name]) for one in fields(kind)}


def _plain(hint: Any) -> tuple[Any, bool, tuple[str, ...]]:
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [one for one in typing.get_args(hint) if one is not type(None)]
        optional, hint = len(inner) < len(typing.get_args(hint)), inner[0]
    if typing.get_origin(hint) is Literal:
        return str, optional, typing.get_args(hint)
    return hint, optional, ()


def check(made: Any) -> None:
    """Refuse a dataclass whose fields are not of their type, choices and limits: `ConfigError`."""
    for name, plain, optional, choices, said in _checks(typing.cast(Any, type(made))):
        value = getattr(made, name)
        if (value is None and optional) or (type(value) is plain and plain in _UNLIMITED):
            continue
        fault = ""
        if value is None:
            fault = "must have a value, got none"
        elif choices:
            if value not in choices and not (said.also and ":" in str(value)):
                words = ", ".join([*choices, *filter(None, [said.also])])
                fault = f"must be one of {words}, got {value!r}"
        elif plain in (int, float):
            fault = _number_fault(value, said, plain is int)
        elif isinstance(plain, type) and not isinstance(value, plain):
            fault = f"must be a {_WORDS.get(plain, plain.__name__)}, got {value!r}"
        if fault:
            raise ConfigError(f"{name_of(made.__dataclass_fields__[name])} {fault}")


_UNLIMITED = (date, datetime, bool)  # an instance is sound


@functools.cache
def _checks(kind: Any) -> tuple[tuple[str, Any, bool, tuple[str, ...], About], ...]:
    own = {one.name: about(one) for one in fields(kind)}
    return tuple((name, *said, own[name]) for name, said in types_of(kind).items())


class Checked:
    """Checks its fields where it is made."""

    def __post_init__(self) -> None:
        check(self)


_WORDS = {str: "text", bool: "yes or no", date: "date", datetime: "time"}


def _number_fault(value: Any, said: About, whole: bool) -> str:
    is_number = type(value) is int or (type(value) is float and not whole)  # nearly always
    if not is_number and not isinstance(value, bool):
        is_number = isinstance(value, numbers.Integral if whole else numbers.Real)
    if not is_number or math.isnan(value):
        return f"must be a {'whole ' if whole else ''}number, got {value!r}"
    if said.at_least <= value <= said.at_most and said.over < value < said.under:
        return ""
    low = {said.at_least: "at least", said.over: "over"}
    high = {said.at_most: "at most", said.under: "under"}
    ends = {word: end for end, word in (low | high).items() if math.isfinite(end)}
    words = [f"{word} {end:,.10g}" for word, end in ends.items()]
    return f"must be {' and '.join(words) or 'finite'}, got {value:g}"


def name_of(one: Any) -> str:
    """What a field is called: `bag-size` where it is an option, `age_years` where a column."""
    said = about(one)
    return said.option or (one.name.replace("_", "-") if said.help else str(one.name))


def flag_of(one: Any) -> str:
    """How the command line calls it: `--bag-size`, or `-o`."""
    name = name_of(one)
    return f"-{name}" if len(name) == 1 else f"--{name}"


def arguments_of(config: Any) -> list[str]:
    """Command-line arguments that make this configuration again: what is not as by default."""
    arguments: list[str] = []
    words: list[str] = []
    for one in fields(config):
        value = getattr(config, one.name)
        default = one.default if one.default is not MISSING else None
        if about(one).hidden or value == default or value is None:
            continue
        if one.default is MISSING:
            arguments.append(str(value))
        elif isinstance(value, bool):
            words.append(f"--{name_of(one)}" if value else f"--no-{name_of(one)}")
        else:
            for each in value if isinstance(value, tuple) else (value,):
                words += [flag_of(one), str(each)]
    return [*arguments, *words]


def command_of(name: str, config: Any) -> str:
    """A line for a shell: the command and the arguments of its configuration."""
    return shlex.join(["trephine", *name.split(), *arguments_of(config)])


def content_id(value: Any, digits: int = 16) -> str:
    """Hash any JSON value to hex digits; equal values give equal ids on every machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=digits // 2).hexdigest()


def now() -> datetime:
    """UTC now, without a zone, as the catalog stores it."""
    return datetime.now(UTC).replace(tzinfo=None)


def to_json(made: Any) -> dict[str, Any]:
    """A dataclass as what JSON can hold; see `as_json`."""
    return {one.name: as_json(getattr(made, one.name)) for one in fields(made)}


def as_json(value: Any) -> Any:
    """Any value as what JSON can hold: dates as ISO texts, what is no number as null."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(v) for v in value]
    if isinstance(value, date):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    is_exact = isinstance(value, Decimal) and Decimal(repr(float(value))) == value
    return float(value) if is_exact else str(value)


def from_json(kind: type[T], data: Mapping[str, Any]) -> T:
    """Make a dataclass of what `to_json`, or an older version of it, wrote.

    Keys that it does not know are left out, and missing ones take their defaults, or are a
    `ConfigError`.
    """
    made: dict[str, Any] = {}
    for one in fields(kind):  # type: ignore[arg-type]
        if one.name in data:
            made[one.name] = _read(types_of(typing.cast(Any, kind))[one.name][0], data[one.name])
        elif one.default is MISSING and one.default_factory is MISSING:
            raise ConfigError(f"a {kind.__name__} has no {one.name}")
    return kind(**made)


def _read(plain: Any, value: Any) -> Any:
    if isinstance(value, Mapping) and is_dataclass(plain):
        return from_json(typing.cast(type[Any], plain), value)
    if isinstance(value, str) and plain in (date, datetime):
        return plain.fromisoformat(value)
    if isinstance(value, str) and typing.get_origin(plain) in (Mapping, dict):
        return json.loads(value)  # a JSON column of the catalog or ledger
    if typing.get_origin(plain) is tuple and isinstance(value, list):
        return tuple(value)
    return value
