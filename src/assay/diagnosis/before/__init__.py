"""What can be told of a recipe before it is trained; one file per group of checks."""
