"""Draw charts as SVG: crisp on paper, small, and in the page's own colours, light or dark."""

import math
import re
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from markupsafe import Markup

Span = tuple[float, float]
Tick = tuple[float, str]

WIDTH, HEIGHT = 540, 400  # drawn in CSS pixels, scaled by the page
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 26, 48
LETTER = 7.4  # CSS pixels of a letter, in a wide font
LONGEST = int(WIDTH / LETTER)  # letters of an axis's name


def minus(text: str) -> str:
    """The same with true minus signs; a hyphen within a word, name or date stays one."""
    return re.sub(r"(?<![\w-])-(?=[\d.])", "−", text)


def ticks(span: Span, most: int = 6) -> list[float]:
    """Round numbers over a span: steps of 1, 2 or 5 times a power of ten, at most `most` + 1."""
    low, high = span
    rough = (high - low) / most or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def marks(span: Span, most: int = 6, form: str = "g", *, whole: bool = False) -> list[Tick]:
    """Ticks of an axis with their texts; of counts the whole numbers alone."""
    found = [v for v in ticks(span, most) if not whole or v == int(v)]
    return [(v, format(v, form if v else form.lstrip("+"))) for v in found]


class Chart:
    """A pair of linear axes over two spans, drawn on in order, with room beside them in CSS pixels.

    All text is escaped; colours are CSS classes.
    """

    def __init__(
        self, x: Span, y: Span, *, height: int = HEIGHT, left: int = LEFT, right: int = RIGHT
    ) -> None:
        self.x, self.y, self.height = x, y, height
        self.box = (left, TOP, WIDTH - right, height - BOTTOM)  # left, top, right, bottom
        self.parts: list[str] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a value lies, in CSS pixels from the top left."""
        left, top, right, bottom = self.box
        across = (x - self.x[0]) / (self.x[1] - self.x[0]) * (right - left)
        up = (y - self.y[0]) / (self.y[1] - self.y[0]) * (bottom - top)
        return round(left + across, 1), round(bottom - up, 1)

    def axes(
        self,
        x_name: str,
        y_name: str,
        x_ticks: Iterable[Tick] | None = None,
        y_ticks: Iterable[Tick] | None = None,
    ) -> None:
        """Draw both axes, faint lines across; `marks` of the whole span if None."""
        left, top, right, bottom = self.box
        for value, text in marks(self.y) if y_ticks is None else y_ticks:
            y = self.at(self.x[0], value)[1]
            self.parts.append(f'<path class="grid" d="M{left} {y}H{right}"/>')
            self.text(left - 8, y + 4.5, text, "tick end")
        for value, text in marks(self.x) if x_ticks is None else x_ticks:
            x = self.at(value, self.y[0])[0]
            self.parts.append(f'<path class="axis" d="M{x} {bottom}v5"/>')
            self.text(x, bottom + 20, text, "tick middle")
        self.parts.append(f'<path class="axis" d="M{left} {bottom}H{right}"/>')
        x_name = x_name if len(x_name) <= LONGEST else f"{x_name[: LONGEST - 1]}…"
        half = LETTER * len(x_name) / 2
        at = min(max((left + right) / 2, half), WIDTH - half)
        self.text(at, self.height - 6, x_name, "name middle")
        middle = (top + bottom) / 2
        self.text(14, middle, y_name, "name middle", f'transform="rotate(-90 14 {middle:g})"')

    def text(self, x: float, y: float, text: str, css: str, more: str = "") -> None:
        """Write at a place in CSS pixels; `css` holds middle or end, else text starts there."""
        said = escape(minus(text))
        self.parts.append(f'<text x="{x:g}" y="{y:g}" class="{css}" {more}>{said}</text>')

    def line(self, x: Sequence[float], y: Sequence[float], css: str) -> None:
        """Join points; one that is not finite breaks the line."""
        path, pen = "", "M"
        for one, other in zip(x, y, strict=True):
            known = math.isfinite(one) and math.isfinite(other)
            path += pen + "{:g} {:g}".format(*self.at(one, other)) if known else ""
            pen = "L" if known else "M"
        self.parts.append(f'<path class="line {css}" d="{path}"/>')

    def points(self, x: np.ndarray, y: np.ndarray, css: str, radius: float = 3.5) -> None:
        """A dot each, numbered as in the data so that a click finds what it is of."""
        self.parts.append(f'<g class="dots {css}">')
        for i, (one, other) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
            cx, cy = self.at(one, other)
            self.parts.append(f'<circle cx="{cx:g}" cy="{cy:g}" r="{radius:g}" data-i="{i}"/>')
        self.parts.append("</g>")

    def rect(self, x: Span, y: Span, css: str, opacity: float = 1.0, said: str = "") -> None:
        """A filled rectangle; `said` is shown under a pointer."""
        (x0, y1), (x1, y0) = self.at(x[0], y[0]), self.at(x[1], y[1])
        shade = f' fill-opacity="{opacity:.2f}"' if opacity < 1 else ""
        place = f'x="{x0:g}" y="{y0:g}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}"'
        title = f"<title>{escape(minus(said))}</title>" if said else ""
        self.parts.append(f'<rect {place} class="{css}"{shade}>{title}</rect>')

    def key(self, names: Sequence[tuple[str, str]]) -> None:
        """A legend above the axes, from the right: (name, class of its swatch) each."""
        x = float(self.box[2])
        for name, css in reversed(names):
            self.text(x, 13, name, "tick end")
            x -= 7 * len(name) + 12
            self.parts.append(f'<circle class="{css}" cx="{x:g}" cy="8.5" r="5"/>')
            x -= 20

    def svg(self, said: str) -> Markup:
        """The drawing as an element of a page; `said` is read out instead of it."""
        return Markup(
            f'<svg class="chart" viewBox="0 0 {WIDTH} {self.height}" role="img" '
            f'aria-label="{escape(minus(said))}">{"".join(self.parts)}</svg>'
        )
