import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from assay.training.isolation import _deterministic_cuda, isolated

CPU = torch.device("cpu")


def draws() -> tuple[float, float, float]:
    return torch.rand(()).item(), float(np.random.random()), random.random()


def fail_inside(threads: int) -> None:
    with isolated(threads=threads, seed=0, device=CPU):
        torch.rand(3)
        raise RuntimeError("on purpose")


def test_threads_and_generators_are_set_and_put_back():
    threads = torch.get_num_threads()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    outside = draws()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    with isolated(threads=threads + 1, seed=0, device=CPU):
        assert torch.get_num_threads() == threads + 1
        inside = draws()
    assert torch.get_num_threads() == threads
    assert draws() == outside
    with isolated(threads=1, seed=0, device=CPU):
        assert draws() == inside
    with isolated(threads=1, seed=1, device=CPU):
        assert not set(draws()) & set(inside)


def test_everything_is_put_back_after_an_error():
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    with pytest.raises(RuntimeError, match="on purpose"):
        fail_inside(threads + 1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_warnings_are_collected_even_where_they_would_be_errors():
    with isolated(threads=1, seed=0, device=CPU) as caught:
        for _ in range(3):
            warnings.warn("odd", UserWarning, stacklevel=1)
    assert caught.warnings == ("UserWarning: odd",)


def test_deterministic_cuda_settings_are_put_back():
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.allow_tf32
    with _deterministic_cuda():
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.allow_tf32
    assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.allow_tf32) == before


@pytest.mark.parametrize("package", ["assay.data", "assay.models", "assay.training"])
def test_the_packages_alone_load_nothing_heavy(package):
    code = f"import sys, {package}; print({{'torch', 'sklearn', 'scipy', 'numpy'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
