"""German and French as they are written: verbs at the end, compounds, elisions."""

from __future__ import annotations

import itertools

import pytest

from ingest.labels.rules import parse

# {c} is the cellularity or another's share, {f} its figure
MEASURED = {
    "de": """{c} wird in der Stanze auf {f} geschätzt.
Am Stanzzylinder beträgt {c} {f}.
In der Knochenstanze liegt {c} bei {f}.
{c} wird von uns am Trepanat mit {f} angegeben.
{c} beläuft sich im Kontrolltrepanat auf {f}.
{c} des Biopsats, visuell geschätzt, beträgt {f}.
{c} der Stanze ist mit {f} anzusetzen.
{c} der Stanze kann auf {f} beziffert werden.
Mit {f} ist {c} der Stanze normal.
{c} der Stanze bewegt sich um {f}.
{c} in der Verlaufsbiopsie schwankt um {f}.
{c} am Knochenzylinder entspricht {f}.""",
    "fr": """{c} de la carotte est chiffrée à {f}.
Sur le trépan, {c} s'élève à {f}.
{c} de la biopsie se situe à {f}.
On estime {c} de la biopsie à {f}.
Nous évaluons {c} de la tréphine à {f}.
{c} de la carotte avoisine {f}.
{c} de la biopsie, diminuée, est de {f}.
À {f}, {c} de la biopsie est normale.
{c} de la biopsie est évaluée semi-quantitativement à {f}.
{c} de la biopsie oscille autour de {f}.""",
}
NOUNS = {
    "de": ["die Zellularität", "der Zellgehalt", "die Zelldichte", "die Restzellularität"],
    "fr": ["la cellularité", "la richesse cellulaire", "la densité cellulaire"],
}
OTHERS = {
    "de": ["der Blastenanteil", "der Fettanteil", "die Lymphominfiltration"],
    "fr": ["la blastose", "la part de graisse", "l'infiltration lymphoïde"],
}
FIGURES = {
    "de": ["40 %", "ca. 40 %", "knapp 40 %", "40 v. H.", "40 Flächenprozent", "vierzig Prozent"],
    "fr": [
        "40 %",
        "environ 40 %",
        "quelque 40 %",
        "40 p. 100",
        "40 pour cent",
        "quarante pour cent",
    ],
}
CASES = [(tongue, frame) for tongue, text in MEASURED.items() for frame in text.split("\n")]


@pytest.mark.parametrize(("tongue", "frame"), CASES)
def test_a_figure_is_read_in_every_order_of_words(tongue: str, frame: str) -> None:
    figures = itertools.cycle(FIGURES[tongue])
    for noun, figure in zip(NOUNS[tongue] * 2, figures, strict=False):
        text = frame.format(c=noun, f=figure)
        assert parse(text[0].upper() + text[1:]).value == 40, text


@pytest.mark.parametrize(("tongue", "frame"), CASES)
def test_the_same_figure_of_another_is_none(tongue: str, frame: str) -> None:
    for noun in OTHERS[tongue]:
        text = frame.format(c=noun, f="40 %")
        assert parse(text[0].upper() + text[1:]).value is None, text


@pytest.mark.parametrize(
    "filled",
    [
        "Die Markräume der Stanze sind zu {f} von {k} ausgefüllt.",
        "In der Stanze nimmt {k} {f} des Markraums ein.",
        "Die Markräume der Stanze werden zu {f} von {k} beansprucht.",
        "Les espaces de la biopsie sont remplis à {f} par {k}.",
        "Sur la biopsie, {k} occupe {f} des espaces médullaires.",
    ],
)
def test_what_fills_the_space_is_read_if_it_is_blood_forming(filled: str) -> None:
    german = "Stanze" in filled
    own = ["Blutmark", "Hämatopoese"] if german else ["l'hématopoïèse", "le tissu hématopoïétique"]
    others = ["Tumor", "Fettgewebe"] if german else ["le lymphome", "la graisse"]
    for k, f in itertools.product(own, ["40 %", "40 Prozent" if german else "40 p. 100"]):
        assert parse(filled.format(k=k, f=f)).value == 40, (filled, k)
    for k in others:
        assert parse(filled.format(k=k, f="40 %")).value is None, (filled, k)
