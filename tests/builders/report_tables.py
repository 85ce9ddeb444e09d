"""Tables as reports hold them: between bars, parted by a mark, or aligned by blanks."""

from __future__ import annotations


def table(rows: list[list[str]], mark: str) -> str:
    """Rows of cells as lines, parted by `mark`; a blank aligns them."""
    if mark != " ":
        return "\n".join(
            f"| {' | '.join(row)} |" if mark == "|" else mark.join(row) for row in rows
        )
    widths = [max(map(len, column)) + 3 for column in zip(*rows, strict=True)]
    return "\n".join("".join(map(str.ljust, row, widths)).rstrip() for row in rows)
