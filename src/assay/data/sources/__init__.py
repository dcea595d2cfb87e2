"""The data sets assay knows by name, one file each."""
