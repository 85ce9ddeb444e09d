"""The ridge floor against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainer.floor import PENALTIES, ridge


@given(st.integers(3, 40), st.integers(1, 40), st.floats(0, 3), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_floor_is_the_ridge_of_scikit_learn(n: int, d: int, noise: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, z = rng.normal(3, 2, (n, d)), rng.normal(3, 2, (5, d))
    x[:, d // 2], z[:, d // 2] = 7.3, 7.3  # a column that says nothing
    y = x @ rng.normal(size=d) + noise * rng.normal(size=n)
    theirs = make_pipeline(StandardScaler(), RidgeCV(alphas=PENALTIES)).fit(x, y)
    assert ridge(x, y, z) == pytest.approx(theirs.predict(z), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("n", "d"), [(500, 300), (250, 400)])
def test_the_floor_is_the_same_whatever_the_threads(n: int, d: int) -> None:
    rng, before, found = np.random.default_rng(0), torch.get_num_threads(), []
    x, z = rng.normal(size=(n, d)), rng.normal(size=(5, d))
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        found.append(ridge(x, x[:, 0], z))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert all(np.array_equal(one, found[0]) for one in found)
