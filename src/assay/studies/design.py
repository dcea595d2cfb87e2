"""What a study asks (in the making)."""
