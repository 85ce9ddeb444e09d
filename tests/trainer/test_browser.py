"""The page in a real browser: what a reader clicks, sees and is spared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from builders import embedding_stores as es
from builders.attended import attention
from builders.browser import Browser

from featurestore import FeatureStore
from featurestore.types import Target
from trainer import TrainConfig, heatmap, train, write_page

pytestmark = pytest.mark.proof

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=hacked=1>"
TISSUE = np.array([214, 150, 190])  # of the builder's thumbnails
SHIFTS = """new Promise((done) => {
  let sum = 0;
  const seen = (list) => { for (const one of list.getEntries()) sum += one.value; };
  new PerformanceObserver(seen).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(sum), 400);
})"""
CONTRAST = """(() => {  // the least of all texts, and of which
  const linear = (v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map((v) => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const texts = ".verdict, .note, .cautions li, .data td, .data th, figcaption, .number small, " +
    ".kicker, .top a, code";
  return [...document.querySelectorAll(texts)].filter((one) => one.textContent.trim())
    .map((one) => {
      const [a, b] = [light(getComputedStyle(one).color), light(behind(one))].sort();
      return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), one.tagName + one.className];
    }).sort((a, b) => a[0] - b[0])[0];
})()"""
COLUMN = """((name) => {
  const heads = [...document.querySelectorAll(".slides thead th")];
  const i = heads.findIndex((one) => one.textContent === name);
  return [...document.querySelectorAll(".slides tbody tr")]
    .map((row) => row.children[i].textContent);
})"""
WRITE = """((field, value) => {
  const found = document.querySelector(field);
  found.value = value;
  found.dispatchEvent(new Event("input"));
})"""
PLACE = """new Promise((done) => setTimeout(() => {
  const box = document.querySelector(".stage .overlay").getBoundingClientRect();
  done([box.left, box.top, box.width, box.height]);
}, 300))"""
SEEN = """[...document.querySelectorAll(".slides thead th")]
  .filter((one) => one.getBoundingClientRect().right <= innerWidth)
  .map((one) => one.textContent)"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureStore, str, Path]:
    """A Run on eighty Slides with hostile names, and its page."""
    folder = tmp_path_factory.mktemp("browser")
    x, values = es.planted(80, [6 + i % 5 for i in range(80)], dim=8)
    store = es.build(folder / "store", x, (values / 5).round() * 5, outside=HOSTILE)
    es.freeze(store)
    run = train(store, TrainConfig(cohort="all", bag_size=8, steps=200))
    return store, run.run_id, write_page(store, [run.run_id], folder / "report.html")


@pytest.fixture
def desk(made: tuple[FeatureStore, str, Path]) -> Iterator[Browser]:
    with Browser(1280, 900) as browser:
        browser.open(made[2])
        yield browser


def column(browser: Browser, name: str) -> list[str]:
    """The cells of a column of the table of Cases, from the top."""
    return list(browser.run(f"{COLUMN}({name!r})"))


def numbers(cells: list[str]) -> list[float]:
    return [float(cell.replace("−", "-").replace("+", "")) for cell in cells]


def head(name: str) -> str:
    heads = '[...document.querySelectorAll(".slides thead button")]'
    return f"{heads}.find((one) => one.textContent === {name!r})"


def test_nothing_is_asked_for_complained_of_or_run(desk: Browser, made: Any) -> None:
    desk.run("new Promise((done) => setTimeout(done, 300))")
    assert {url.split(":")[0] for url in desk.requests} <= {"file", "data"}
    assert [url for url in desk.requests if url.startswith("file")] == [made[2].as_uri()]
    assert desk.complaints == []
    assert desk.run("window.hacked") is None
    assert HOSTILE in column(desk, "Slide")[0]
    assert desk.run('document.querySelectorAll("img[src=x]").length') == 0


def test_nothing_moves_while_it_loads(desk: Browser) -> None:
    assert desk.run(SHIFTS) == 0


def test_the_table_sorts_and_filters(desk: Browser) -> None:
    sizes = [abs(v) for v in numbers(column(desk, "Error"))]
    assert sizes == sorted(sizes, reverse=True)  # the largest errors first
    desk.run(head("Predicted") + ".click()")
    falling = numbers(column(desk, "Predicted"))
    assert falling == sorted(falling, reverse=True)
    desk.run(head("Predicted") + ".click()")
    rising = numbers(column(desk, "Predicted"))
    assert rising == sorted(rising)
    assert desk.run(head("Predicted") + ".parentElement.getAttribute('aria-sort')") == "ascending"
    all_rows = int(desk.run('document.querySelector(".count").textContent').split(" ")[2])
    desk.run('document.querySelector(".more").click()')
    assert len(column(desk, "Slide")) == all_rows
    desk.run(f'{WRITE}(".search", "gt 450")')
    assert {cell[:13] for cell in column(desk, "Scanner")} == {"Aperio GT 450"}
    assert 0 < len(column(desk, "Slide")) < all_rows
    desk.run(f'{WRITE}(".smallest", 5)')
    assert all(abs(value) >= 4.95 for value in numbers(column(desk, "Error")))


def test_classes_are_named_and_calls_marked(tmp_path: Path) -> None:
    target = Target(name="mds", kind="binary", low=0, high=1)
    x, values = es.planted(40, 8, dim=4)
    store = es.build(tmp_path / "store", x, (values > 50).astype(float).tolist(), target=target)
    es.freeze(store, target="mds")
    run = train(store, TrainConfig(cohort="all", steps=20), draw=False)
    test = run.predictions.filter(pl.col("split") == "test")
    right = {
        row["slide_id"]: (row["mean"] > 0.5) == (row["label"] == 1) for row in test.rows(named=True)
    }
    with Browser(1280, 900) as browser:
        browser.open(write_page(store, [run.run_id], tmp_path / "page.html"))
        slides, called = column(browser, "Slide"), column(browser, "Called")
        assert dict(zip(slides, called, strict=True)) == {
            one: "✓ right" if right[one] else "✗ wrong" for one in slides
        }
        positive = dict(test.select("slide_id", pl.col("label") == 1).iter_rows())
        assert column(browser, "Label") == [
            "positive" if positive[s] else "negative" for s in slides
        ]
        browser.run("document.querySelector('.slides tbody .open').click()")
        facts = browser.run("document.querySelector('.facts').textContent")
        assert f"Called{called[0]}" in facts
        assert "Interval" not in facts
        assert browser.complaints == []


def test_a_slide_opens_by_key_and_closes_again(desk: Browser) -> None:
    first, second = column(desk, "Slide")[:2]
    desk.run('document.querySelector(".slides .open").focus()')
    desk.press("Enter")
    title = 'document.querySelector("#slide h2").textContent'
    assert desk.run('document.getElementById("slide").open')
    assert desk.run(title) == first
    desk.press("ArrowRight")
    assert desk.run(title) == second
    desk.press("ArrowLeft")
    assert desk.run(title) == first
    facts = desk.run('document.querySelector(".facts").textContent')
    assert column(desk, "Predicted")[0] in facts
    assert "Labels given" in facts
    desk.press("Escape")
    assert not desk.run('document.getElementById("slide").open')


def test_a_point_of_a_figure_opens_its_slide(desk: Browser) -> None:
    dots = 'document.querySelectorAll(".each svg")[0].querySelectorAll("circle[data-i]")'
    assert desk.run(f"{dots}.length") == int(
        desk.run('document.querySelector(".count").textContent').split(" ")[2]
    )
    desk.run(f"{dots}[0].dispatchEvent(new MouseEvent('click', {{ bubbles: true }}))")
    assert desk.run('document.querySelector("#slide h2").textContent').startswith("S-00")


def test_the_overlay_has_the_colour_of_each_tiles_attention_and_fades(
    desk: Browser, made: tuple[FeatureStore, str, Path]
) -> None:
    store, run_id, _ = made
    slide_id = column(desk, "Slide")[0]
    tiles = attention(store, run_id, slide_id)
    row = tiles.filter(pl.col("x_px0") < 8_000).sort("relative").row(-1, named=True)
    level = heatmap.levels(np.array([row["relative"]]))[0]
    *colour, alpha = heatmap.palette()[level].tolist()
    desk.run('document.querySelector(".slides .open").click()')
    left, top, width, height = desk.run(PLACE)
    x = int(left + (row["x_px0"] + 250) / 9_000 * width)
    y = int(top + 550 / 4_000 * height)  # inside the tile, beside its mark
    for opacity in (100, 60, 0):
        desk.run(f'{WRITE}(".opacity input", {opacity})')
        share = alpha / 255 * opacity / 100
        wanted = share * np.array(colour) + (1 - share) * TISSUE
        seen = np.array(desk.picture().getpixel((x, y)))
        assert np.abs(seen - wanted).max() <= 4, (opacity, seen, wanted)
    beside = desk.picture().getpixel((x, int(top + 0.8 * height)))
    assert np.abs(np.array(beside) - TISSUE).max() <= 4  # no tile, no colour


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_its_window_and_can_be_read(
    made: tuple[FeatureStore, str, Path], tmp_path: Path, width: int, scheme: str
) -> None:
    with Browser(width, 844, prefers_color_scheme=scheme) as browser:
        browser.open(made[2])
        assert browser.run("document.documentElement.scrollWidth") == width
        seen = browser.run(SEEN)
        assert seen[:3] == ["Slide", "Error", "Label"]  # what matters comes first
        ratio, where = browser.run(CONTRAST)
        assert ratio >= 4.5, where
        picture = browser.picture(whole=True)
        picture.save(tmp_path / f"page-{width}-{scheme}.png")
        assert len(picture.resize((200, 800)).getcolors(1 << 20) or []) > 200
        assert browser.complaints == []
