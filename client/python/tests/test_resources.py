"""Resource dictionaries as executorlib has them, and how many tasks a pilot has room for."""

import os

import pytest
from scalems_pilot._options import Options
from scalems_pilot._resources import capacity, options_of

LONG_S = 60


def where():
    return os.getcwd(), os.environ["OMP_NUM_THREADS"]


def takes_it(resource_dict):
    return resource_dict


def test_words_are_options():
    given = {
        "cores": 2,
        "threads_per_core": 4,
        "gpus_per_core": 1,
        "cwd": "/scratch",
        "run_time_max": 60,
        "priority": 3,
        "exclusive": False,
        "slurm_cmd_args": [],
        "cache_key": None,
    }
    options = Options().replaced(**options_of(given))
    assert options == Options(ranks=2, cores=4, gpus=1, cwd="/scratch", walltime=60, priority=3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"core": 1}, "no 'core'; there are: cores, threads_per_core"),
        ({"slurm_cmd_args": ["--exclusive"]}, "slurm_cmd_args.*starts pilots"),
        ({"num_nodes": 2}, "num_nodes.*says where ranks run"),
        ([], "a dictionary"),
        ({"threads_per_core": "many"}, "cores is a number"),
    ],
)
def test_what_it_cannot_have_is_refused_by_name(ex, given, said):
    with pytest.raises(TypeError, match=said):
        ex.submit(abs, -1, resource_dict=given)


def test_a_call_runs_as_its_dictionary_says(ex, tmp_path):
    given = {"cores": 1, "threads_per_core": 2, "gpus_per_core": 0, "cwd": str(tmp_path)}
    assert ex.submit(where, resource_dict=given).result(LONG_S) == (str(tmp_path), "2")
    assert ex._with_resources(where, given) is ex._with_resources(where, dict(given)), "equal ones travel together"


def test_a_function_may_have_the_word_itself(ex):
    with pytest.raises(TypeError, match="argument of this function too"):
        ex.submit(takes_it, resource_dict={"cores": 1})
    assert ex.submit(takes_it, {"cores": 1}).result(LONG_S) == {"cores": 1}


@pytest.mark.parametrize(
    ("totals", "options", "room"),
    [
        ({"cores": 8.0}, Options(), 8),
        ({"cores": 8.0}, Options(ranks=2, cores=3), 1),
        ({"cores": 8.0}, Options(cores=0.5), 16),
        ({"cores": 8.0, "gpus": 2.0}, Options(gpus=1), 2),
        ({"cores": 8.0}, Options(gpus=1), 0),
        ({"cores": 8.0, "fpga": 1.0}, Options(cores=0, resources={"fpga": 0.25}), 4),
        ({"cores": 8.0}, Options(cores=0), 8),
        ({}, Options(), 0),
    ],
)
def test_how_many_tasks_there_is_room_for(totals, options, room):
    assert capacity(totals, options) == room
