"""Hear sales calls on the branch's own server, notice what matters, tell head office."""

import os

__version__ = "0.1.0"

# Before numpy is imported: its BLAS keeps a thread for each core that spins for a while after every little product, and
# takes a whole core from the recognizers. Work is shared out between our own threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
