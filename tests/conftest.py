"""Settings that every test shares."""

import os

# The networks of the tests are tiny: a second thread only waits, and where cores are shared it waits long. Programs
# that the tests start inherit this.
os.environ["OMP_NUM_THREADS"] = "1"

import torch as th
from hypothesis import settings

# The machine may be slow and is not the subject: no deadlines, and the same examples in every run.
settings.register_profile("o1nano", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("o1nano")

th.set_num_threads(1)
