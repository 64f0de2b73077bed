"""Parts of `scripts/bench`: other ways to bring events to head office, held against ours under the same load."""
