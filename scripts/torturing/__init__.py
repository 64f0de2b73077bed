"""Parts of `scripts/torture`: both ends in processes of their own, the line between them, and the judge of it all."""
