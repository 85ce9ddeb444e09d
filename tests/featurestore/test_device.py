from __future__ import annotations

import pytest
import torch

from featurestore.device import device_of, precision_of
from featurestore.errors import ConfigError


def test_bfloat16_is_taken_only_where_it_is_native(monkeypatch: pytest.MonkeyPatch) -> None:
    for can, expected in (({"amx_bf16": True}, "bfloat16"), ({"avx2": True}, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda can=can: can)
        assert precision_of("auto", "cpu") == expected
        assert precision_of("bfloat16", "cpu") == "bfloat16"
        assert precision_of("float32", "cpu") == "float32"


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto") == device_of("cpu") == "cpu"
    with pytest.raises(ConfigError, match="Pass --device cpu"):
        device_of("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of("auto") == device_of("cuda") == "cuda"
    assert device_of("cpu") == "cpu"
