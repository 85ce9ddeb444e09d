"""Grow and shrink masks by squares, and sum over them, at a cost that hardly hangs on the width."""

from __future__ import annotations

from typing import Literal

import numpy as np


def odd(width_um: float, mpp: float) -> int:
    """Nearest odd number of pixels, at least 1."""
    return max(1, 2 * round((width_um / mpp - 1) / 2) + 1)


def box_sum(values: np.ndarray, width: int, mode: Literal["constant", "edge"]) -> np.ndarray:
    """Sum over the square of the given odd width around each pixel.

    Beyond the edge lies nothing, or the edge goes on.
    """
    half = width // 2
    total = np.pad(values.astype(np.int32), half, mode=mode)
    for axis in (0, 1):
        total = np.moveaxis(total, axis, 0)
        window, result, done = total, np.zeros_like(total[: len(total) - 2 * half]), 0
        for bit in range(width.bit_length()):  # windows of 1, 2, 4, ... pixels add up to any width
            if width >> bit & 1:
                result += window[done : done + len(result)]
                done += 1 << bit
            if width >> bit > 1:
                step = 1 << bit
                window = window[: len(window) - step] + window[step:]
        total = np.moveaxis(result, 0, axis)
    return total


def grown(mask: np.ndarray, width: int) -> np.ndarray:
    """Whether any pixel is True in the square of the given odd width around each pixel."""
    half = width // 2
    out = np.pad(mask, half)
    for axis in (0, 1):
        out = np.moveaxis(out, axis, 0)
        reach = 1
        while reach < width:
            step = min(reach, width - reach)
            out = out[: len(out) - step] | out[step:]
            reach += step
        out = np.moveaxis(out, 0, axis)
    return out


def opened(mask: np.ndarray, width: int) -> np.ndarray:
    """Take away what is narrower than the width."""
    return grown(~grown(~mask, width), width)


def closed(mask: np.ndarray, width: int) -> np.ndarray:
    """Fill spaces narrower than the width."""
    around = np.pad(mask, width)  # growing must not stop at the edge, or the edge would be filled
    return (~grown(~grown(around, width), width))[width:-width, width:-width]
