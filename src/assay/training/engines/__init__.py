"""What computes a training: torch, NumPy by hand, and the two rungs between them. One protocol, one file each."""
