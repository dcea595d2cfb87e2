"""Every layer by hand in NumPy, forward and backward; losses, optimizers, gradient checks. No framework is imported.

Start with `layer` (what a layer is), then `affine`, `layer_norm` and `convolution_loops`; `network` puts layers
together, `training` makes steps of them.
"""
