"""Recipe in, Run out. `assay.training.run.run_recipe` is the door; importing this package alone loads no torch."""
