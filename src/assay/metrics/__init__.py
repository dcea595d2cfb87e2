"""Arrays in, numbers out; and the catalogue of what a run records."""
