"""Torch networks, one file per family; building, initialising and describing them."""
