"""Random changes of training images: what is drawn (`epoch`), and the pure functions that apply it, by kind."""
