"""Train and apply attention-MIL models from the store."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.config import TrainConfig as TrainConfig
    from trainer.dataset import BagDataset as BagDataset
    from trainer.fit import train as train
    from trainer.inference import predict as predict
    from trainer.page import write_report as write_report

_HOMES = {
    "BagDataset": "trainer.dataset",
    "TrainConfig": "trainer.config",
    "train": "trainer.fit",
    "write_report": "trainer.page",
}
__all__ = ["BagDataset", "TrainConfig", "predict", "train", "write_report"]


def __getattr__(name: str) -> Any:
    """Import on first use: torch is slow to import, and `--help` must not wait for it."""
    if name == "predict":  # the module of that name, which can be called
        return import_module("trainer.inference")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
