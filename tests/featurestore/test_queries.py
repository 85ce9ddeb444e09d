"""Texts that come along, and what each takes."""

from __future__ import annotations

import pytest

import sql
from featurestore import queries
from featurestore.errors import QueryRefused
from featurestore.queries import where_query


@pytest.mark.parametrize("folder", ["named", "cohorts"])
def test_a_text_that_comes_along_is_listed_with_what_it_takes(folder: str) -> None:
    told = queries.listed(folder)
    assert {one["name"] for one in told.json()} == queries.known(folder).keys()
    for one in told.json():
        given = "".join(f" -p {name}=..." for name in one["parameters"])
        assert f"{one['said']}\n    --named {one['name']}{given}\n" in f"{told.text()}\n"
        text = sql.read(queries.known(folder)[one["name"]])
        assert all(f"${name}" in text for name in one["parameters"])


@pytest.mark.parametrize("where", ["", " \n", "-- cellularity > 5", "/* all */ -- of them"])
def test_an_empty_condition_is_refused_in_words(where: str) -> None:
    with pytest.raises(QueryRefused, match=r"is empty\. Give one expression"):
        where_query(where)


@pytest.mark.parametrize("where", ["cellularity > 5) or (1=1", "true) or (true", "')' = 'a') --"])
def test_a_condition_is_one_expression(where: str) -> None:
    with pytest.raises(QueryRefused, match="closes a bracket"):
        where_query(where)


@pytest.mark.parametrize(
    "where", ["a = ')'", "(a > 1) and (b)", """x = 'it''s )' -- :)""", """"n)" > 1"""]
)
def test_a_bracket_in_a_text_a_name_or_a_comment_is_none(where: str) -> None:
    assert where_query(where).endswith(f"where ({where}\n)")
