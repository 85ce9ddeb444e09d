"""Quote marks, blank lines behind each line and wrapped lines change nothing."""

from __future__ import annotations

import pytest

from ingest.labels.lines import plain_lines, width_of, wraps
from ingest.labels.rules import parse

REPORT = """BONE MARROW CORE BIOPSY
The core is 14 mm long and holds twelve spaces. The marrow is of
{f}% cellularity with normal maturation, and the number of
megakaryocytes is normal. Blasts are 3% of the
cells. Iron is present.
CLOT
Particles are 95% cellular."""


@pytest.mark.parametrize("mark", ["> ", ">", "> > "])
def test_a_quoted_report_reads_as_the_report(mark: str) -> None:
    for f in (5, 40, 90):
        text = REPORT.format(f=f)
        quoted = "\n".join(mark + line for line in text.split("\n"))
        assert plain_lines(quoted).split() == text.split()
        assert parse(quoted).value == parse(text).value == f


def test_a_bound_at_the_head_of_lines_is_no_quote_mark() -> None:
    text = "Core biopsy\nCellularity\n>95%\nMegakaryocytes few\nBlasts 2%"
    assert plain_lines(text) == text


def test_a_report_with_a_blank_line_behind_each_line_is_closed_up() -> None:
    for f in (5, 40, 90):
        text = REPORT.format(f=f)
        spaced = text.replace("\n", "\n\n")
        assert plain_lines(spaced) == text
        assert parse(spaced).value == f
    # paragraphs of one line each are no such report
    lines = "Core biopsy: 40% cellular.\n\nClot: none.\n\nBlasts 3%.\n\nIron: present.\n\nNormal."
    assert plain_lines(lines) == lines


@pytest.mark.parametrize(
    "before", ["The cellularity of the core averages", "It is estimated, then,"]
)
def test_a_line_that_begins_with_the_figure_goes_on(before: str) -> None:
    assert wraps(f"In this biopsy of 14 mm. {before}", "40% of the space.")
    assert not wraps(f"In this biopsy of 14 mm. {before}", "Blasts 40%")
    assert not wraps("CORE", "40% cellular")
    for f in (5, 40):
        text = f"In this core biopsy of 14 mm. The marrow cellularity averages about\n{f}%. Normal."
        assert parse(text).value == f


@pytest.mark.parametrize("blank", ["\n\n", "\n \n", "\n\t \n"])
def test_the_width_is_that_of_the_lines_as_far_as_a_blank_one(blank: str) -> None:
    for widths in ([3, 9, 5], [1], [40, 2]):
        lines = "\n".join("x" * n for n in widths)
        assert width_of(f"{lines}{blank}{'y' * 60}", 0) == max(widths)
        assert width_of(f"{'z' * 7}\n{lines}{blank}", 8) == max(widths)
    assert width_of("abc", 0) == 3
