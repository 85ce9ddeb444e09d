"""Choose tiles by their scores: the conditions of --tiles."""

import ast
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from featurestore import FeatureStore
from featurestore.errors import ConfigError, TrainError
from featurestore.types import SCORES
from featurestore.words import counted

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]]
_COMPARE = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}


def tile_filter(expression: str) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Compile a condition such as `tissue > 0.5 and blur < 0.3` to what chooses rows, bool (N,).

    It is comparisons (<, <=, >, >=) of tissue, blur, pen and numbers, joined by `and`, `or`, `not`
    and parentheses, in float16 as they are stored; anything else is a ConfigError. One with a
    missing score (NaN) is false.
    """
    refused = ConfigError(
        f"--tiles takes comparisons of {', '.join(SCORES)} with numbers, joined by and, or, not, "
        f"got {expression!r}. Example: --tiles 'tissue > 0.5 and blur < 0.3'"
    )

    def value(node: ast.expr, scores: dict[str, np.ndarray]) -> Any:
        match node:
            case ast.Name(id=name) if name in SCORES:
                return np.asarray(scores[name], np.float16)
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                with np.errstate(over="ignore"):
                    return np.float16(number)  # as scores are stored, so that 0.3 equals 0.3
        raise refused

    def chosen(node: ast.expr, scores: dict[str, np.ndarray]) -> np.ndarray:
        match node:
            case ast.BoolOp(op=op, values=parts):
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return np.asarray(join.reduce([chosen(part, scores) for part in parts]))
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return np.asarray(np.logical_not(chosen(part, scores)))
            case ast.Compare(left=left, ops=ops, comparators=rights):
                sides = [value(side, scores) for side in (left, *rights)]
                if any(type(op) not in _COMPARE for op in ops) or all(map(np.isscalar, sides)):
                    raise refused
                pairs = zip(ops, sides, sides[1:], strict=False)
                return np.asarray(np.all([_COMPARE[type(op)](a, b) for op, a, b in pairs], axis=0))
        raise refused

    try:
        body = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise refused from error
    chosen(body, {name: np.zeros(1) for name in SCORES})  # refuse now, not at the first slide
    return lambda scores: chosen(body, scores)


def keep_tiles(store: FeatureStore, bags: pl.DataFrame, tiles: str | None) -> pl.DataFrame:
    """Apply a `tile_filter`: a column `rows` lists what may be drawn; Slides without are left out.

    None keeps all tiles and adds no column.
    """
    if tiles is None:
        return bags
    choose = tile_filter(tiles)
    names = tuple(name for name in SCORES if name in tiles)
    rows = []
    for key, tiling_id, n in bags.select("slide_key", "tiling_id", "n_tiles").iter_rows():
        rows.append(pl.Series(np.flatnonzero(choose(store.scores(key, tiling_id, n, names)))))
    bags = bags.with_columns(pl.Series("rows", rows, dtype=pl.List(pl.Int64)))
    bags = bags.filter(pl.col("rows").list.len() > 0)
    if bags.is_empty():
        raise TrainError(
            f"no tile of {counted(len(rows), 'slide')} passes --tiles {tiles!r}. Loosen it."
        )
    return bags


def kept_rows(bags: pl.DataFrame) -> list[np.ndarray] | None:
    """Per Slide the rows that may be drawn, int64; None where there is no filter."""
    return [rows.to_numpy() for rows in bags["rows"]] if "rows" in bags.columns else None


def n_drawable(bags: pl.DataFrame) -> np.ndarray:
    """Per Slide how many tiles may be drawn, int64."""
    count = pl.col("rows").list.len() if "rows" in bags.columns else pl.col("n_tiles")
    return bags.select(count.cast(pl.Int64)).to_series().to_numpy()
