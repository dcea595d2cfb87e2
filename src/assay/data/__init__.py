"""Data sources, splits, normalisation and batches. Import the module needed: only `assay.data.batches` loads torch."""
