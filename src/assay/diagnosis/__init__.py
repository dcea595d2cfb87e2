"""What is wrong with a recipe or with a run: evidence, cause, cure."""
