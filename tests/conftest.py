"""Settings that every test shares."""

import os

# The networks of the tests are tiny: a second thread only waits, and where cores are shared it waits long. Programs
# that the tests start inherit this.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch as th
from hypothesis import settings

# The machine may be slow and is not the subject: no deadlines, and the same examples in every run.
settings.register_profile("o1nano", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("o1nano")

th.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the browser tests, which make the pictures of the documentation."""
    parser.addoption("--pictures", metavar="FOLDER", help="write the pictures of the playground to a folder")
    parser.addoption("--run", metavar="FOLDER", help="the run that these pictures show; by default a small one")
