"""Train and apply attention-MIL models from the store."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.config import TrainConfig as TrainConfig
    from trainer.dataset import BagDataset as BagDataset
    from trainer.fit import train as train
    from trainer.inference import predict as predict
    from trainer.page import write_page as write_page

_CLASSES = {"BagDataset": "trainer.dataset", "TrainConfig": "trainer.config"}
_FUNCTIONS = {"predict": "trainer.inference", "train": "trainer.fit", "write_page": "trainer.page"}
__all__ = [*_CLASSES, *_FUNCTIONS]


def __getattr__(name: str) -> Any:
    """A class is imported when it is named; a function, which needs torch, when it is called."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _FUNCTIONS.get(name)
    made = _later(home, name) if home else getattr(import_module(_CLASSES[name]), name)
    return globals().setdefault(name, made)


def _later(home: str, name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(import_module(home), name)(*args, **kwargs)

    call.__module__, call.__name__, call.__qualname__ = __name__, name, name
    call.__doc__ = f"`{home}.{name}`, imported at the first call: torch takes seconds."
    return call
