"""Words: each has one class, numbers count on, and a text is of the tongue of its small words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.labels import languages
from ingest.labels.figures import fold


@pytest.mark.parametrize(
    ("text", "tongue"),
    [
        ("The marrow is cellular and there is no fibrosis in the core.", "en"),
        ("Das Mark ist zellreich und ohne Fibrose in der Biopsie.", "de"),
        ("La moelle est riche et sans fibrose dans le prélèvement.", "fr"),
        ("La médula ósea es hipercelular con una celularidad del 80 % en el cilindro.", "other"),
        ("De celularidad 80 %", "other"),
        ("Cellularity 40%", "en"),
        ("", "en"),
    ],
)
def test_a_text_is_of_the_language_of_its_small_words(text: str, tongue: str) -> None:
    assert languages.language(fold(text)) == tongue


def test_every_word_has_one_letter_and_a_material_is_set_aside() -> None:
    assert len(languages.WORDS) > 1_000
    for word, letter in languages.WORDS.items():
        assert word == word.lower()
        assert len(letter) == 1
    assert set(languages.KINDS.values()) == {"clot", "aspirate", "touch", "blood", "other", "bones"}
    assert {languages.WORDS[word] for word in languages.KINDS} == {"S"}


@pytest.mark.parametrize("names", [("fünfzig", "fifty", "cinquante"), ("elf", "eleven", "onze")])
def test_a_number_is_one_in_every_language(names: tuple[str, ...]) -> None:
    assert len({languages.NUMBERS[name] for name in names}) == 1


@given(
    before=st.text(" .,abdgh", max_size=40),
    word=st.sampled_from(["cellularity", "zellularität", "richesse cellulaire", "corrected"]),
)
def test_a_word_on_the_cellularity_is_found_wherever_it_stands(before: str, word: str) -> None:
    found = languages.triggers_in(before + word)
    assert found == sorted(found)
    assert any(len(before) <= at < len(before + word) for at in found)
    assert not any(at < len(before) for at in found)
