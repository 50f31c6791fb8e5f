"""What takes a pool with a map, or the map of one."""

import os

import pytest

numpy = pytest.importorskip("numpy")


def rosenbrock(x):
    return float(((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2).sum())


def test_scipy_minimizes(ex):
    optimize = pytest.importorskip("scipy.optimize")
    how = {"bounds": [(-2, 2)] * 2, "popsize": 4, "maxiter": 6, "rng": 1, "polish": False, "updating": "deferred"}
    there = optimize.differential_evolution(rosenbrock, workers=ex.map, **how)
    here = optimize.differential_evolution(rosenbrock, **how)
    numpy.testing.assert_array_equal(there.x, here.x)
    assert there.nfev == here.nfev


def log_probability(x):
    # What has the number of the process in it says that it was another one.
    return -0.5 * float((x**2).sum()), os.getpid()


def test_emcee_samples(ex):
    emcee = pytest.importorskip("emcee")
    start = numpy.random.default_rng(1).normal(size=(8, 2))
    sampler = emcee.EnsembleSampler(8, 2, log_probability, pool=ex)
    sampler.run_mcmc(start, 5, skip_initial_state_check=False)
    assert sampler.get_chain().shape == (5, 8, 2)
    numpy.testing.assert_allclose(sampler.get_log_prob(), -0.5 * (sampler.get_chain() ** 2).sum(axis=-1))
    assert os.getpid() not in set(sampler.get_blobs().ravel())
