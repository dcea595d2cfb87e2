"""What one run is: the recipe, reading and overriding it, its fingerprint, and its random streams."""
