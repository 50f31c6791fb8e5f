"""joblib's Parallel, and with it scikit-learn, on a pilot."""

import os
import subprocess
import sys

import pytest
from scalems_pilot import Executor

joblib = pytest.importorskip("joblib")
numpy = pytest.importorskip("numpy")

import scalems_pilot.joblib  # noqa: E402

scalems_pilot.joblib.register()
LONG_S = 60


def square(number):
    return number * number, os.getpid()


def fail(number):
    raise ValueError(f"number {number}")


def nested(number):
    return sum(joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(-n) for n in range(number)))


def test_calls_run_on_the_pilot(ex):
    with joblib.parallel_config("scalems", executor=ex):
        found = joblib.Parallel()(joblib.delayed(square)(n) for n in range(200))
        few = joblib.Parallel(n_jobs=2)(joblib.delayed(square)(n) for n in range(3))
    assert [number for number, _ in found] == [n * n for n in range(200)]
    assert [number for number, _ in few] == [0, 1, 4]
    assert os.getpid() not in {pid for _, pid in [*found, *few]}


def test_what_main_scripts_write_is_sent(ex):
    factor = 3
    with joblib.parallel_config("scalems", executor=ex):
        assert joblib.Parallel(n_jobs=2)(joblib.delayed(lambda n: n * factor)(n) for n in range(5)) == [0, 3, 6, 9, 12]
        as_they_come = joblib.Parallel(n_jobs=2, return_as="generator_unordered")(joblib.delayed(abs)(n) for n in range(9))
        assert sorted(as_they_come) == list(range(9))


def test_an_error_ends_the_call_and_not_the_executor(ex):
    with joblib.parallel_config("scalems", executor=ex):
        with pytest.raises(ValueError, match=r"number \d+"):
            joblib.Parallel(n_jobs=2)(joblib.delayed(fail)(n) for n in range(100))
        assert joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(n) for n in [-1]) == [1]


def test_what_runs_within_a_task(ex):
    with joblib.parallel_config("scalems", executor=ex):
        assert joblib.Parallel(n_jobs=2)(joblib.delayed(nested)(n) for n in (3, 4)) == [3, 6]
    with joblib.parallel_config("scalems", executor=ex, cores=2):
        assert joblib.Parallel()(joblib.delayed(nested)(n) for n in (3, 4)) == [3, 6]


def test_threads_of_libraries_are_kept_to_a_number(ex):
    with joblib.parallel_config("scalems", executor=ex, inner_max_num_threads=3):
        assert joblib.Parallel()(joblib.delayed(os.getenv)("MKL_NUM_THREADS") for _ in range(2)) == ["3", "3"]


def test_arrays_are_sent(ex):
    data = numpy.arange(100_000.0)
    with joblib.parallel_config("scalems", executor=ex):
        assert joblib.Parallel()(joblib.delayed(numpy.sum)(data[:n]) for n in (10, 100_000)) == [45.0, data.sum()]


def test_a_pilot_of_its_own():
    with joblib.parallel_config("scalems", max_workers=1):
        assert joblib.effective_n_jobs(-1) == 2, "one would be called here"
        ((number, pid),) = joblib.Parallel()(joblib.delayed(square)(n) for n in [3])
    assert number == 9 and pid != os.getpid()


def test_a_pilot_by_name(named_pilot):
    with joblib.parallel_config("scalems", pilot=named_pilot):
        assert joblib.Parallel()(joblib.delayed(abs)(n) for n in (-1, -2)) == [1, 2]


def test_what_cannot_be(ex):
    with joblib.parallel_config("scalems", executor=ex):
        with pytest.raises(ValueError, match="no meaning"):
            joblib.Parallel(n_jobs=0)(joblib.delayed(abs)(n) for n in range(3))
    with pytest.raises(TypeError, match="either executor"):
        joblib.parallel_config("scalems", executor=ex, pilot="night")
    with joblib.parallel_config("scalems", executor=ex, gpus=1):
        with pytest.raises(ValueError, match="no worker .* could run these tasks"):
            joblib.Parallel()(joblib.delayed(abs)(n) for n in range(3))


def test_without_joblib(tmp_path):
    script = """
import sys
sys.modules["joblib"] = None
import scalems_pilot
try:
    import scalems_pilot.joblib
except scalems_pilot.MissingPackage as error:
    assert "scalems-pilot[joblib]" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=LONG_S)


def test_scikit_learn_searches_and_validates():
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, cross_val_score

    X, y = datasets.make_regression(n_samples=60, n_features=5, noise=1.0, random_state=1)
    here = GridSearchCV(Ridge(), {"alpha": [0.01, 1.0, 100.0]}, cv=3).fit(X, y)
    with Executor(max_workers=2) as ex:
        with joblib.parallel_config("scalems", executor=ex):
            there = GridSearchCV(Ridge(), {"alpha": [0.01, 1.0, 100.0]}, cv=3, n_jobs=-1).fit(X, y)
            scores = cross_val_score(Ridge(), X, y, cv=3, n_jobs=-1)
    assert there.best_params_ == here.best_params_
    numpy.testing.assert_allclose(there.cv_results_["mean_test_score"], here.cv_results_["mean_test_score"])
    numpy.testing.assert_allclose(scores, cross_val_score(Ridge(), X, y, cv=3))
