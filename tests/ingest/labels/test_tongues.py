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


# {k} is what forms blood, or another's tissue
FILLING = [
    ("Die Stanze zeigt {k}, das {f} der Fläche einnimmt.", "blutbildendes Mark", "ein Infiltrat"),
    ("Trepanat: {f} {k}, Rest Fettmark.", "Hämatopoese", "Plasmazellen"),
    ("Trepanat: {k} {f}, Rest Fettmark.", "Hämatopoese", "Plasmazellen"),
    ("Trepanat: {k}anteil {f}.", "Blutbildungs", "Plasmazell"),
    ("La biopsie montre {k} couvrant {f} des espaces.", "un tissu hématopoïétique", "un lymphome"),
    ("Sur la biopsie, {f} {k} et le reste de graisse.", "de tissu hématopoïétique", "de blastes"),
    ("Sur la biopsie, {f} de la surface est occupée par {k}.", "l'hématopoïèse", "des blastes"),
    ("La biopsie présente {k} que nous estimons à {f}.", "une cellularité", "une infiltration"),
    ("La biopsie présente {k} que l'on chiffre à {f}.", "une cellularité", "une infiltration"),
    ("{k} de la biopsie n'est que de {f}.", "La cellularité", "La blastose"),
    ("Am Stanzzylinder eine mit {f} zu veranschlagende {k}.", "Zelldichte", "Fibrose"),
    ("Die Stanze ist als zu {f} {k} anzusehen.", "zellulär", "fibrosiert"),
]


@pytest.mark.parametrize(("frame", "own", "other"), FILLING)
def test_clauses_are_read_of_blood_formation_only(frame: str, own: str, other: str) -> None:
    for figure in ("40 %", "ca. 40 %"):
        assert parse(frame.format(k=own, f=figure)).value == 40
        assert parse(frame.format(k=other, f=figure)).value is None


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("maximal 10 %", 5),
        ("nicht über 10 %", 5),
        ("oberhalb von 90 %", 95),
        ("40 bis etwa 50 %", 45),
        ("10 % au plus", 5),
        ("au maximum 10 %", 5),
        ("d'au moins 90 %", 95),
        ("supérieure ou égale à 90 %", 95),
        ("40 voire 50 %", 45),
    ],
)
def test_bounds_are_read_before_and_behind(said: str, value: float) -> None:
    assert parse(f"Stanze.\nZellularität {said}.").value == value
    assert parse(f"Stanze.\nBlasten {said}.").value is None


@pytest.mark.parametrize("frame", ["rechts {a}, links {b} %", "rechts mit {a}, links mit {b} %"])
def test_sides_share_one_sign(frame: str) -> None:
    for a, b in ((40, 60), (20, 30)):
        both = frame.format(a=a, b=b)
        assert parse(f"Stanzen: die Zellularität ist {both} zu bewerten.").value == (a + b) / 2
        assert parse(f"Stanzen: der Blastenanteil ist {both} zu bewerten.").value is None


@pytest.mark.parametrize(
    "text",
    [
        "Die Stanzbiopsie vom Mai letzten Jahres wies eine Zellularität von {v} % auf.",
        "Rectificatif : le chiffre de {v} % de cellularité de la biopsie est retiré.",
        "Nachtrag: Der Wert von {v} % für die Zellularität der Stanze ist ungültig.",
        "Biopsie ; cellularité tumorale pour biologie moléculaire : {v} %.",
        "Slides of a trephine.\nTheir reading: {v}% cellular.",
        "Stanze: Zellularität fokal {v} %.",
        "Biopsie : cellularité de {v} % par endroits.",
        "Die Patientin hätte einen Zellgehalt um {v} % zu erwarten. Die Stanze ist zu klein.",
        "Abrollpräparat der Stanze: Zellgehalt {v} %.",
    ],
)
def test_what_is_of_before_taken_back_or_another_is_none(text: str) -> None:
    for v in (20, 55, 80):
        assert parse(text.format(v=v)).value is None


def test_sides_may_be_abbreviated_and_a_grade_is_no_figure() -> None:
    assert parse("Biopsie bds.: li. Zylinder 50 %, re. Zylinder 60 % zellulär.").value == 55
    assert parse("Trepanat: Zellgehalt Stufe 2 von 5.").value is None


def test_a_mean_stands_before_its_ends_and_sides_are_letters() -> None:
    for v in (40, 75):
        ends = f"cellularité augmentée, {v} % en moyenne, minimum 20 %, maximum 90 %"
        assert parse(f"Biopsies : {ends}.").value == v
        both = f"(D : {v} %, G : {v + 10} %)"
        assert parse(f"Cellularité des deux biopsies {both}.").value == v + 5
        assert parse(f"Biopsies : cellularité normale. Blastes {both}.").value is None


ENDS = """Zellularität: {a} % am einen, {b} % am anderen Ende.
Zellularität am einen Ende {a} %, am anderen {b} %.
Die Zellularität beträgt am einen Ende {a} % und am anderen Ende {b} %.
Das Mark ist am einen Ende zu {a} %, am anderen zu {b} % zellulär.
Cellularity: {a}% at one end, {b}% at the other.""".splitlines()


@pytest.mark.parametrize("frame", ENDS)
@pytest.mark.parametrize(("a", "b"), [(90, 95), (20, 40), (60, 30)])
def test_the_two_ends_of_a_core_give_their_mean(frame: str, a: int, b: int) -> None:
    assert parse("Stanzbiopsie. " + frame.format(a=a, b=b)).value == (a + b) / 2


@pytest.mark.parametrize(("part", "v"), [("one third", 33.33), ("two fifths", 40), ("half", 50)])
def test_a_fraction_of_cellularity_is_read(part: str, v: float) -> None:
    for said in (f"About {part} cellularity and the rest fat.", f"It has {part} cellularity."):
        assert parse("Core biopsy. " + said).value == v, said
