"""An addendum that denies the figure it names, or calls its core a clot, leaves no value."""

from __future__ import annotations

from itertools import product

import pytest

from ingest.labels.rules import parse
from ingest.labels.withdrawals import undone_at

VALUES = (5, 40, 90)
# lead of the addendum, name of the figure, what is denied or undone; the old text
ENGLISH = (
    ("Addendum: ", "AMENDMENT\n", "Correction: "),
    ("The cellularity of {}%", "The reported cellularity ({}%)", "Our estimate of {}%"),
    """cannot be supported.
can no longer be defended.
is no longer defensible.
is not reproducible on recuts; this marrow is crushed.
could not be verified and should be seen as never given.
does not stand.
was scrapped (block exchanged).""".splitlines(),
    "Core biopsy: cellularity {}%.",
)
GERMAN = (
    ("Nachtrag: ", "Korrektur: "),
    ("Die Zellularität von {} %", "Der angegebene Zellgehalt ({} %)", "Der Wert von {} %"),
    """kann nicht bestehen bleiben, und soll nicht verwendet werden.
gilt nicht mehr.
ist nicht belastbar.
ist nicht zu verwerten.
wird gelöscht (Blöcke vertauscht).""".splitlines(),
    "Stanze: Zellularität {} %.",
)
FRENCH = (
    ("Complément : ", "Rectificatif : "),
    ("La cellularité de {} %", "Le chiffre de {} %", "L'estimation notée ({} %)"),
    """ne peut être défendue.
n'est plus soutenable.
n'est pas exploitable.
est effacée (lames échangées).
est annulée.""".splitlines(),
    "Biopsie ostéo-médullaire : cellularité {} %.",
)
KEPT = """is not changed by this.
is unaltered.
does not need a change.
is confirmed.
remains.
is not in doubt.
is not increased for the age.""".splitlines()
ORDERS = """Please do not quote the cellularity of {}%.
Never use the stated cellularity of {}%.
Ne plus citer la cellularité de {} %.
Annulation de la richesse de {} %.""".splitlines()
AS_CLOT = """What was called a core biopsy is a particle clot.
The piece described as the trephine proved to be clotted aspirate.
Pieces signed out as core biopsy are in fact sections of the clot.
The tissue reported as core (with {}% cellularity) turned out to be clot.
Die Stanze ist ein Gerinnsel.
La biopsie est en fait un caillot.
No core biopsy was received.
The trephine was not submitted; what we had is the clot.""".splitlines()
NO_RELABEL = """The core biopsy is negative for amyloid, the clot section too.
The clot is small.
No second core biopsy was received.
The core biopsy and the clot are free of lymphoma.
Iron on the smear is not assessable.
No core biopsy was sent for flow.""".splitlines()


@pytest.mark.parametrize("tongue", [ENGLISH, GERMAN, FRENCH])
def test_what_cannot_be_is_no_longer_or_is_undone_gives_nothing(
    tongue: tuple[tuple[str, ...], tuple[str, ...], list[str], str],
) -> None:
    leads, subjects, deeds, old = tongue
    for lead, subject, deed in product(leads, subjects, deeds):
        for n, v in enumerate(VALUES):
            addendum = f"{lead}{subject.format(v)} {deed}"
            report = old.format(v)
            gap = ("\n", "\n\n", "\nReport: ")[n]
            assert parse(f"{addendum}{gap}{report}").value is None, addendum
            assert parse(f"{report}\n\n{addendum}").value is None, addendum


@pytest.mark.parametrize("kept", KEPT)
def test_what_is_kept_stays(kept: str) -> None:
    leads, subjects, _, old = ENGLISH
    for lead, subject, v in product(leads, subjects[:2], VALUES):
        text = f"{old.format(v)}\n\n{lead}{subject.format(v)} {kept}"
        assert parse(text).value == v, text


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("v", VALUES)
def test_what_is_not_to_be_used_gives_nothing(order: str, v: int) -> None:
    for lead in ("Erratum : ", "Addendum: "):
        assert parse(f"{lead}{order.format(v)}\nCore biopsy: {v}% cellular.").value is None


@pytest.mark.parametrize("said", AS_CLOT)
@pytest.mark.parametrize("v", VALUES)
def test_a_core_that_is_called_a_clot_gives_nothing(said: str, v: int) -> None:
    for lead in ("Addendum: ", "CORRECTION\n", "Nachtrag: "):
        addendum = lead + said.format(v)
        assert parse(f"{addendum}\nOriginal report: Core biopsy, {v}% cellular.").value is None
        assert parse(f"Core biopsy: cellularity {v}%.\n\n{addendum}").value is None


@pytest.mark.parametrize("said", NO_RELABEL)
@pytest.mark.parametrize("v", VALUES)
def test_an_addendum_on_something_else_changes_nothing(said: str, v: int) -> None:
    assert parse(f"Core biopsy: cellularity {v}%.\n\nAddendum: {said}").value == v


@pytest.mark.parametrize("v", VALUES)
def test_what_is_put_in_its_place_is_read(v: int) -> None:
    for new in (f"it is {v}%.", f"the cellularity is {v}%."):
        text = f"Addendum: The cellularity of 45% cannot be upheld; {new}\nCore biopsy: 45%."
        assert parse(text).value in (v, None)
    assert undone_at(f"the cellularity of {v}% cannot be upheld") > 0
    assert undone_at(f"the cellularity of {v}% is high") == -1
