"""A number without a sign is a figure where only a share can stand, and none elsewhere."""

from __future__ import annotations

import pytest

from ingest.labels.rules import parse


@pytest.mark.parametrize("v", range(5, 100, 15))
def test_a_mean_of_signed_figures_needs_no_sign(v: int) -> None:
    for end in (f"consensus {v}.", f"the agreed figure is {v}.", f"overall {v}."):
        text = f"Core biopsy. The cellularity was put at 30%, at 40% and at 80%; {end}"
        assert parse(text).value == v, text


@pytest.mark.parametrize("n", [2, 6, 12, 40])
def test_a_number_with_its_own_noun_is_no_mean(n: int) -> None:
    for end in (
        f"in total {n} fields.",
        f"overall {n} mm long.",
        f"on average {n} megakaryocytes.",
    ):
        assert parse(f"Core biopsy. The cellularity is 55%; {end}").value in (55, None), end


@pytest.mark.parametrize("share", [0.05, 0.3, 0.65, 0.95])
def test_a_number_of_below_one_under_the_key_is_a_share_of_one(share: float) -> None:
    assert parse(f"Core biopsy\nCellularity: {share}").value == 100 * share


@pytest.mark.parametrize("unit", ["mm", "cm", "years", "cores", "fragments", "hpf"])
def test_a_number_with_a_unit_is_no_share(unit: str) -> None:
    assert parse(f"Core biopsy\nCellularity: see text\nOther: 12 {unit}").value is None
