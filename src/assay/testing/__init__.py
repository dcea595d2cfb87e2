"""Contract suites: subclass one in your tests and give it your implementation.

`assay.testing.stores.StoreContract` holds a run store to its promises, `assay.testing.executors.ExecutorContract` an
executor, both with the made-up recipes and runs of `assay.testing.trials`. `assay.testing.layers.LayerContract` does so
for a layer by hand. The suites need ``pip install "assay[test]"``.
"""

import sys

if "pytest" in sys.modules:  # a worker process that runs a made-up trial need not load it
    sys.modules["pytest"].register_assert_rewrite(
        "assay.testing.executors", "assay.testing.layers", "assay.testing.stores"
    )
