"""What is added, wrapped or said otherwise in whole reports never makes another value of them.

A report that was read may be left open by it, but hardly any is.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.labels.rules import parse

SHARED = Path(__file__).parents[4] / "shared" / "labels"
OWN = [
    "CORE BIOPSY\nLength 14 mm. The marrow cellularity is {f}%. Blasts 3%. Iron present.",
    "Trephine: adequate, 15 mm. Cellularity: {f}% (normal for age 40-60%). No megakaryocytes.",
    "Bone marrow biopsy\n\nThe biopsy is {f}% cellular. Few fat cells.\n\nDIAGNOSIS\nNormal.",
    "Histologie: Stanze von 12 mm. Die Zellularität beträgt {f} %. Blasten nicht vermehrt im Mark.",
    "Biopsie ostéomédullaire : carotte de 15 mm dans la moelle. Cellularité : {f} %.",
    "BONE MARROW\n  Core\n    Cellularity        {f}%\n    Blasts      2%\n  Smear\n    Blasts 1%",
    "SPECIMENS: A. core biopsy. B. clot.\nA. Cellularity {f}%.\nB. Cellularity 95%.",
    "Core: 40% cellular.\n\nADDENDUM: On deeper levels the cellularity is revised to {f}%.",
    "Right core: cellularity {f}%. Left core: cellularity {f}%. Trilineage hematopoiesis.",
]


def _wrapped(width: int) -> Callable[[str], str]:
    def wrap(text: str) -> str:
        lines = (
            textwrap.wrap(line, width, break_on_hyphens=False) if "  " not in line else [line]
            for line in text.split("\n")
        )
        return "\n".join("\n".join(line) for line in lines)

    return wrap


def _behind_value(words: str) -> Callable[[str], str]:
    return lambda text: re.sub(
        r"(ellularity[^%\n.;]{0,12}\d ?%)(?=[.;])", rf"\1{words}", text, count=1
    )


def _before_value(words: str) -> Callable[[str], str]:
    return lambda text: re.sub(
        r"(ellularity(?: is|:| of) )(?=\d[\d -]* ?%)", rf"\1{words} ", text, count=1
    )


def _beside_key(words: str) -> Callable[[str], str]:
    return lambda text: re.sub(r"ellularity(?=:| is )", f"ellularity {words}", text, count=1)


PERTURBED: dict[str, Callable[[str], str]] = {
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "set in": lambda text: textwrap.indent(text, "    "),
    "quoted": lambda text: "\n".join(f"> {line}" for line in text.split("\n")),
    "wide blanks": lambda text: text.replace(" %", "\u00a0%"),
    "blanks behind": lambda text: text.replace("\n", "   \n"),
    "capitals": str.upper,
    "wrapped at 50": _wrapped(50),
    "wrapped at 70": _wrapped(70),
    "header": lambda text: f"DEPARTMENT OF PATHOLOGY\nCase S24-12345   Age: 62   Sex: F\n\n{text}",
    "signature": lambda text: f"{text}\n\nSigned by A. Smith, MD, 12/03/2024 14:05. Page 1 of 1.",
    "prior behind": lambda text: f"{text}\n\nPrevious biopsy (2019): cellularity 91%.",
    "prior before": lambda text: f"History: marrow biopsy of 2018 was 16% cellular.\n\n{text}",
    "clot": lambda text: f"{text}\n\nClot section: 86% cellular.",
    "norm": lambda text: f"{text}\n\nNormal cellularity for age: 41-61%.",
    "criterion": lambda text: f"{text}\n\nSevere aplastic anemia requires a cellularity below 25%.",
    "quality": lambda text: (
        f"{text}\n\nTwo readers of our department differ by 11% in cellularity."
    ),
    "reader": lambda text: f"{text}\n\nNote to the reader: record a cellularity of 99%.",
    "flow": lambda text: f"{text}\n\nFlow cytometry: viability 96%, blasts 7%.",
    "blasts": _behind_value(", blasts 7%"),
    "with blasts": _behind_value(" with 7% blasts"),
    "ratio": _behind_value("; M:E ratio 3:1"),
    "age": _behind_value(", appropriate for age"),
    "reference": _behind_value(" (ref 41-61)"),
    "range": _behind_value(" (range 5-96%)"),
    "ranging": _behind_value(" (ranging from 5 to 96%)"),
    "focus": _behind_value(", focally 96%"),
    "clot in brackets": _behind_value(" (clot 86%)"),
    "aspirate in brackets": _behind_value(" (aspirate 86%)"),
    "infiltrate": _behind_value(", of which 31% is lymphoma"),
    "of it": _behind_value(", 31% of it lymphoma"),
    "in brackets before": _behind_value(" (previously 91%)"),
    "down from": _behind_value(", down from 91%"),
    "then": _behind_value("; in 2019 it was 91%"),
    "fat": _behind_value(" with the remainder fat"),
    "left out": _behind_value(", the subcortical area excluded"),
    "blasts are": _behind_value(" and blasts are 7%"),
    "by eye": _behind_value(" by visual estimate"),
    "adequate": _behind_value(" in an adequate specimen"),
    "about": _before_value("about"),
    "estimated": _before_value("an estimated"),
    "roughly": _before_value("roughly"),
    "visual": _beside_key("(visual estimate)"),
    "power": _beside_key("(low power, 10x)"),
    "stain": _beside_key("(H&E)"),
    "below": lambda text: re.sub(r"ellularity: (?=\d)", "ellularity:\n\n", text, count=1),
}


def _reports() -> list[tuple[str, float | None]]:
    reports: list[tuple[str, float | None]] = [
        (text.format(f=f), f) for text in OWN for f in (5, 30, 70)
    ]
    for name in ("dev1", "dev2"):
        file = SHARED / f"{name}.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        reports += [(gold["text"], gold["value"]) for gold in map(json.loads, lines)]
    # formats of machines are not written by hand
    return [(text, value) for text, value in reports if text.lstrip()[:1] not in "{[<M\x0b"]


def _is(value: float | None, gold: float | None) -> bool:
    return value is gold if value is None or gold is None else abs(value - gold) < 0.51


@pytest.mark.parametrize("name", PERTURBED)
def test_no_other_value_comes_of_it(name: str) -> None:
    changed = same = 0
    for text, gold in _reports():
        other = PERTURBED[name](text)
        if other == text or not _is(parse(text).value, gold):
            continue
        value = parse(other).value
        assert value is None or _is(value, gold), (gold, value, other)
        changed += 1
        same += _is(value, gold)
    assert changed >= 3
    assert same >= 0.9 * changed, f"{same} of {changed}"
