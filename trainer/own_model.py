"""A model of one's own: any module of a Bag's Embeddings and its mask, trained as any other.

Its class is named in the Run, so that a later process can make it again: docs/limits.md.
"""

import functools
import inspect
from ast import literal_eval
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from featurestore.errors import ConfigError
from featurestore.types import content_id
from trainer.config import Named, TrainConfig, class_of, named
from trainer.model import BagModel, Scorer

State = Mapping[str, Tensor]
HOW = "Put its class into a module and give it, or functools.partial(CLASS, OPTION=VALUE)"
NEAR = (1e-3, 1e-4)  # of two ways to compute one value: relative, absolute


def model_of(config: TrainConfig, dim: int, kind: str) -> Scorer:
    """Make the model that a configuration means, for Embeddings of `dim` and a kind of Target."""
    bounded = kind != "continuous"
    if (own := named(config.model)) is not None:
        return OwnModel(own, dim, bounded=bounded)
    how = {name: getattr(config, name) for name in ("hidden", "projection", "dropout")}
    return BagModel(dim, config.model, **how, bounded=bounded)


class OwnModel(Scorer):
    """A module of one's own between the standardised Embeddings and the value.

    Its class may take `dim`, the width of an Embedding. Its forward takes x float32 (B, N, D),
    standardised and 0 where padded, and mask bool (B, N), true where there is a tile; it gives
    scores (B,) before the sigmoid, or these and weights (B, N) that sum to 1: its attention.
    """

    def __init__(self, own: Named, dim: int, *, bounded: bool) -> None:
        super().__init__(dim, bounded)
        self.own = own
        self.module = _made(own, dim)
        self.attends = _checked(self, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Score Bags, as `BagModel` does."""
        return self._both(x, mask)[0]

    def begin(self, start: State | None) -> None:
        """Take the weights that its module was handed over with; ConfigError if they are gone."""
        if start is not None:
            self.module.load_state_dict(start)
        elif self.own.start:
            raise ConfigError(
                f"model {self.own.path} began from weights that were handed over in Python. Train "
                f"it there again with train(..., model=...), or anew with: --model {self.own.path}"
            )

    def attention(self, x: Tensor, mask: Tensor) -> Tensor:
        """Weight of each tile, shape (B, N), as `BagModel` does."""
        weights = self._both(x, mask)[1]
        if weights is None:
            raise ConfigError(
                f"model {self.own.path} has no attention. "
                "Let its forward give the weights of tiles (B, N) beside the value."
            )
        return weights

    def _both(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        x = ((x.float() - self.shift) / self.scale).masked_fill(~mask[..., None], 0)
        low = self.training and self.precision != torch.float32
        with torch.autocast(x.device.type, self.precision if low else torch.bfloat16, enabled=low):
            found = self.module(x, mask)
        scores, weights = found if isinstance(found, tuple) else (found, None)
        if scores.shape not in {(len(x),), (len(x), 1)}:
            raise ConfigError(
                f"model {self.own.path} gives a value of shape {tuple(scores.shape)} for "
                f"{len(x)} bags, expected ({len(x)},)."
            )
        return scores.reshape(len(x)).float(), weights if weights is None else weights.float()


def _made(own: Named, dim: int) -> nn.Module:
    kind = class_of(own)
    options = _with_dim(kind, dim) | dict(own.options)
    try:
        made: nn.Module = kind(**options)
    except Exception as error:
        raise ConfigError(
            f"model {own.path} cannot be made with {options}: {type(error).__name__}: {error}."
        ) from error
    return made


def _with_dim(made_by: Callable[..., Any], dim: int) -> dict[str, Any]:
    return {"dim": dim} if "dim" in inspect.signature(made_by).parameters else {}


def _checked(model: OwnModel, dim: int) -> bool:
    """Try a new model on two Bags; whether it attends. ConfigError: it is no model of Bags."""
    x, n = torch.sin(torch.arange(2 * 7 * dim, dtype=torch.float32)).reshape(2, 7, dim), [7, 5]
    mask = torch.arange(7) < torch.tensor(n)[:, None]
    path, training = model.own.path, model.module.training
    try:
        with torch.random.fork_rng(), torch.no_grad():
            scores, weights = model.eval()._both(x, mask)
            alone, _ = model._both(x[1:, : n[1]], mask[1:, : n[1]])
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"model {path} fails on x {tuple(x.shape)} and mask {tuple(mask.shape)}: "
            f"{type(error).__name__}: {error}."
        ) from error
    model.train(training)
    if not torch.allclose(scores[1:], alone, *NEAR):
        raise ConfigError(
            f"model {path} gives {float(scores[1]):.4g} to a padded bag that alone has "
            f"{float(alone):.4g}. Let it leave out the tiles where mask is false."
        )
    if not any(one.requires_grad for one in model.parameters()):
        raise ConfigError(f"model {path} has nothing to learn: no parameter requires a gradient.")
    if weights is None:
        return False
    if weights.shape != mask.shape or not torch.allclose(
        weights.clamp(min=0).masked_fill(~mask, 0).sum(dim=1), torch.ones(2), *NEAR
    ):
        raise ConfigError(
            f"model {path} gives attention of shape {tuple(weights.shape)} that is no share: "
            f"expected {tuple(mask.shape)}, at least 0, 0 where mask is false, rows that sum to 1."
        )
    return True


def described(given: Callable[..., Any], dim: int, seed: int) -> tuple[str, State | None]:
    """Say a class, a `functools.partial` of one, a made module, or what another function makes.

    Its --model, and weights to begin from, or None. ConfigError: no later process could make it.
    """
    options: dict[str, Any] = {}
    if isinstance(given, functools.partial):
        names, part = inspect.signature(given.func).parameters, given
        given, options = part.func, dict(zip(names, part.args, strict=False)) | part.keywords
    if isinstance(given, type):
        own = _named(given, options)
        _made(own, dim)
        return own.text(), None
    if not isinstance(given, nn.Module):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            given = given(**_with_dim(given, dim) | options)
    if not isinstance(given, nn.Module):
        raise ConfigError(f"a model must be a torch.nn.Module, got {given!r}. {HOW}.")
    known = [k for k in inspect.signature(type(given)).parameters if hasattr(given, k)]
    options = {k: v for k in known if k != "dim" and _lasting(v := getattr(given, k))}
    own = _named(type(given), options)
    state = {k: v.detach().cpu().clone().contiguous() for k, v in given.state_dict().items()}
    if not _same(given, own, state, dim):
        lost = f"a later process could not make this {own.path} again"
        raise ConfigError(f"{lost}: made as {own.text()!r} it is another. {HOW}.")
    start = content_id(safetensors.torch.save(state).hex())
    return replace(own, start=start).text(), state


def _named(kind: type, options: Mapping[str, Any]) -> Named:
    own = Named(home=kind.__module__, name=kind.__qualname__, options=dict(options))
    if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
        raise ConfigError(f"a later process could not find {kind.__qualname__}. {HOW}.")
    if not all(map(_lasting, options.values())):
        raise ConfigError(
            f"the options of {own.path} must be numbers, texts or lists of them, got {options!r}. "
            "Give it their names, and let it make what they mean."
        )
    return own


def _lasting(value: Any) -> bool:
    """Whether a value reads back from what is written of it."""
    try:
        return bool(literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, RuntimeError):
        return False


def _same(given: nn.Module, own: Named, state: State, dim: int) -> bool:
    """Whether a class made anew, with the same weights, is what was given: in training, too."""
    try:
        again = _made(own, dim)
        again.load_state_dict(state)
    except (ConfigError, RuntimeError):
        return False
    if repr(again) != repr(given):
        return False
    x, mask = torch.sin(torch.arange(3.0 * 5 * dim)).reshape(3, 5, dim), torch.ones(3, 5).bool()
    found = []
    for module in (again.train(), given.train()):
        with torch.random.fork_rng(), torch.no_grad(), suppress(Exception):
            torch.manual_seed(0)
            value = module(x, mask)
            found.append(value[0] if isinstance(value, tuple) else value)
    given.load_state_dict(state)  # statistics of batches moved
    return not found or torch.equal(found[0], found[-1])  # what fails is told later
