"""Train and apply attention-MIL models from the store."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.config import TrainConfig as TrainConfig
    from trainer.dataset import BagDataset as BagDataset
    from trainer.fit import train as train
    from trainer.inference import predict as predict
    from trainer.page import write_page as write_page

_HOMES = {
    "BagDataset": "trainer.dataset",
    "TrainConfig": "trainer.config",
    "predict": "trainer.inference",
    "train": "trainer.fit",
    "write_page": "trainer.page",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import on first use: torch is slow to import, and `--help` must not wait for it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
