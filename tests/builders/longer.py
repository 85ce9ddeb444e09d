"""Cases of a test for `make proof`: `make test` has those that find most in the least time."""

from functools import partial

import pytest

longer = partial(pytest.param, marks=pytest.mark.proof)
