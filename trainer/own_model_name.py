"""A model of one's own by its name: package.module:Class(option=value). Light, as `--help` is."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featurestore.errors import ConfigError

# A class in a module, what it is made with, and the hash of weights that it began from.
_FORM = re.compile(
    r"(?P<home>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_][\w.]*)(\((?P<options>.*)\))?(@(?P<start>\w+))?",
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Named:
    """Where a class is, and what it is made with."""

    home: str  # module
    name: str  # of the class, in it
    options: Mapping[str, Any] = field(default_factory=dict)  # literals
    start: str = ""  # hash of the weights that a made one was handed over with

    @property
    def path(self) -> str:
        """Without options and weights."""
        return f"{self.home}:{self.name}"

    def text(self) -> str:
        """What `named` reads."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return (
            self.path + (f"({given})" if given else "") + (f"@{self.start}" if self.start else "")
        )


def class_of(own: Named) -> type[Any]:
    """Import the class; only a class of modules is ever called, whatever a Run's record says.

    Raises:
        ConfigError: it cannot be imported, or is none.
    """
    try:
        kind: Any = importlib.import_module(own.home)
        for name in own.name.split("."):
            kind = getattr(kind, name)
    except Exception as error:
        raise ConfigError(
            f"model {own.path} cannot be imported: {type(error).__name__}: {error}. Make it "
            "importable, as with the variable PYTHONPATH set to the folder of its module."
        ) from error
    bases = kind.__mro__ if isinstance(kind, type) else ()  # by name: torch is slow to import
    if ("torch.nn.modules.module", "Module") not in {(b.__module__, b.__name__) for b in bases}:
        raise ConfigError(f"model {own.path} must be a class of torch.nn.Module, got {kind!r}")
    found: type[Any] = kind
    return found


def named(model: str) -> Named | None:
    """Read what --model says of a class of one's own; None for a word, which means one of ours.

    Raises:
        ConfigError: it is not written so, or its options are no literals.
    """
    if ":" not in model:
        return None
    try:
        if (found := _FORM.fullmatch(model)) is None:
            raise ValueError("it names no class of a module")
        call = ast.parse(f"f({found['options'] or ''})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError("they need names")
        options = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
    except (ValueError, SyntaxError) as error:
        raise ConfigError(
            f"model {model!r} cannot be read: {error}. "
            "Write it as package.module:Class(width=64, norm='layer')"
        ) from error
    start = found["start"] or ""
    return Named(home=found["home"], name=found["name"], options=options, start=start)
