"""What can be wrong with a finished run: one file for each kind of evidence, one function for each rule."""
