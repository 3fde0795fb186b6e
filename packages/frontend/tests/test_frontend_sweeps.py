"""Sweeps: names, labels, selection, and results as tables and arrays."""

from __future__ import annotations

import datetime
import enum
import pickle
import re
import sys

import pytest

from functionfuse import Fixed, sweep, workflow
from functionfuse.errors import OptionError, UnknownNodeError, UsageError
from functionfuse.nodes import InstanceNode, call_site
from functionfuse.sweeps import Sweep
from functionfuse.testing import RefusingWorkflow
from functionfuse.testing.functions import IncrementalSum, add, received, same


@workflow
def train(data, rate=0.0, depth=1, *, layers=(), **more):
    return {"loss": rate * depth, "data": data, "layers": layers, **more}


def run(*nodes):
    from functionfuse.backends.base import BaseWorkflow

    class InOrder(BaseWorkflow):
        def execute(self, run):
            for task in run.in_order():
                run.perform_here(task)

    return InOrder(*nodes, workflow_name="w").run()


def names(runs):
    return [node.get_name() for node in runs.values()]


class TestNamesAndLabels:
    def test_a_grid(self):
        runs = sweep(train, data=same(1).set_name("data"), rate=[0.1, 0.2], depth=[3, 4])
        assert list(runs) == [(0.1, 3), (0.1, 4), (0.2, 3), (0.2, 4)]
        assert names(runs) == [f"train[rate={rate},depth={depth}]" for rate in (0.1, 0.2) for depth in (3, 4)]
        assert runs[0.2, 3].get_name() == "train[rate=0.2,depth=3]"

    def test_the_labels_of_one_parameter_are_its_values(self):
        runs = sweep(train, data=0, rate=[0.1, 0.2])
        assert list(runs) == [0.1, 0.2]
        assert names(runs) == ["train[rate=0.1]", "train[rate=0.2]"]

    def test_zipped(self):
        runs = sweep(train, "zip", data=0, rate=[0.1, 0.1], depth=[3, 4])
        assert names(runs) == ["train[rate=0.1,depth=3]", "train[rate=0.1,depth=4]"]
        assert list(run(runs)) == [(0.1, 3), (0.1, 4)]

    def test_another_name(self):
        runs = sweep(train, data=0, rate=[0.1]).set_name("first try")
        assert names(runs) == ["first try[rate=0.1]"]

    def test_parameters_with_the_names_of_options(self):
        runs = sweep(train, data=[1], how=["a", "b"], name="n", function=Fixed([1]))
        assert names(runs) == ["train[data=1,how=a]", "train[data=1,how=b]"]
        assert run(runs[1, "b"]) == {
            "loss": 0.0, "data": 1, "layers": (), "how": "b", "name": "n", "function": [1],
        }  # fmt: skip

    def test_of_what_is_defined_in_a_function(self):
        @workflow
        def local(x):
            return x

        assert names(sweep(local, x=[1])) == ["local[x=1]"]

    def test_of_a_class_and_of_a_method(self):
        objects = sweep(IncrementalSum, start=[1, 2])
        assert [type(node) for node in objects.values()] == [InstanceNode] * 2
        calls = sweep(objects[1].add, n=[10, 20])
        assert names(calls) == ["IncrementalSum.add[n=10]", "IncrementalSum.add[n=20]"]
        assert run(calls) == {10: 11, 20: 31}

    def test_nodes_know_where_the_sweep_was_called(self):
        runs = sweep(train, data=0, rate=[0.1])
        assert call_site(runs[0.1]).partition(":")[0] == __file__

    class Color(enum.Enum):
        RED = 1

    ODD = [  # noqa: RUF012
        ("plain text", "plain text", "plain text"),
        ("a,b=c", "a,b=c", "'a,b=c'"),
        ("a\nb", "a\nb", r"'a\nb'"),
        ("", "", "''"),
        (" x", " x", "' x'"),
        ("x" * 100, "x" * 100, "x" * 29 + "...09ecb6eb"),
        (None, None, "None"),
        (True, True, "True"),
        (b"x", b"x", "b'x'"),
        (1e-9, 1e-9, "1e-09"),
        (datetime.date(2026, 1, 2), datetime.date(2026, 1, 2), "2026-01-02"),
        ([64, 32], "[64, 32]", "[64, 32]"),
        ((1, 2), "(1, 2)", "(1, 2)"),
        (Color.RED, "<Color.RED: 1>", "<Color.RED: 1>"),
        (len, "len", "len"),
        (train, "train", "train"),
        (object(), "object#1", "object#1"),
    ]

    @pytest.mark.parametrize(("value", "label", "text"), ODD, ids=[repr(text)[:20] for _, _, text in ODD])
    def test_odd_values(self, value, label, text):
        runs = sweep(same, value=["first", value])
        assert list(runs) == ["first", label]
        assert names(runs) == ["same[value=first]", f"same[value={text}]"]

    def test_nodes_are_labelled_by_their_names(self):
        runs = sweep(train, data=[same(1).set_name("one"), same(2)], rate=1)
        assert list(runs) == ["one", "same#1"]
        assert [result["data"] for result in run(runs).values()] == [1, 2]

    def test_numbers_of_numpy_are_numbers(self):
        numpy = pytest.importorskip("numpy")
        runs = sweep(train, data=0, rate=list(numpy.linspace(0, 1, 3)), depth=[numpy.int64(2)])
        assert names(runs)[1] == "train[rate=0.5,depth=2]"
        assert {type(part) for label in runs for part in label} == {float, int}

    def test_values_with_equal_texts(self):
        runs = sweep(same, value=[1, "1"])
        assert names(runs) == ["same[value=1]", "same[value='1']"]
        large = [[0] * 1000 + [end] for end in (1, 1)]
        assert len(set(names(sweep(same, value=large)))) == 2

    def test_names_are_the_same_in_each_process(self):
        assert names(sweep(same, value=[object(), [1] * 50])) == names(sweep(same, value=[object(), [1] * 50]))


class TestWhatVaries:
    @pytest.mark.parametrize(
        "value",
        [(1, 2), range(2), {1, 2}, frozenset({1}), {1: 2}.keys(), iter([1]), map(str, [1])],
        ids=lambda value: type(value).__name__,
    )
    def test_what_could_be_either_is_refused(self, value):
        expected = re.escape(
            f"data is given as {type(value).__name__!r}, which could be meant to vary or as one value:"
        )
        with pytest.raises(UsageError, match=expected + r" data=list\(\.\.\.\) varies it, data=Fixed\(\.\.\.\)"):
            sweep(train, data=value, rate=[1])

    def test_arrays_of_one_dimension_are_refused_too(self):
        numpy = pytest.importorskip("numpy")
        with pytest.raises(UsageError, match="given as 'ndarray'"):
            sweep(train, data=numpy.arange(2), rate=[1])
        assert run(sweep(train, data=numpy.eye(2), rate=[1]))[1]["data"].shape == (2, 2)

    @pytest.mark.parametrize("value", ["text", b"bytes", {"a": 1}, None, 5, Fixed([1, 2]), Fixed((1, 2))], ids=repr)
    def test_what_is_passed_on(self, value):
        expected = value.value if isinstance(value, Fixed) else value
        assert run(sweep(train, data=value, rate=[1]))[1]["data"] == expected

    def test_varied_lists(self):
        runs = sweep(train, data=0, layers=[[64], [64, 32]])
        assert {label: result["layers"] for label, result in run(runs).items()} == {"[64]": [64], "[64, 32]": [64, 32]}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"data": 1}, "nothing varies in this sweep: give the values of a parameter in a list"),
            ({"data": []}, r"data=\[\] has no values to vary; Fixed\(\[\]\) passes an empty list on"),
            ({"data": 0, "rate": [1, 2, 1.0]}, "rate has the value 1.0 twice"),
            ({"rate": [1]}, r"train\(.*missing a required argument: 'data'"),
        ],
    )
    def test_what_is_refused(self, arguments, message):
        with pytest.raises(UsageError, match=message):
            sweep(train, **arguments)

    def test_what_is_refused_when_zipped(self):
        with pytest.raises(UsageError, match="as many values each: rate has 2, depth has 1"):
            sweep(train, "zip", data=0, rate=[1, 2], depth=[1])
        with pytest.raises(UsageError, match="rate=1,depth=2 comes twice"):
            sweep(train, "zip", data=0, rate=[1, 1], depth=[2, 2])

    def test_an_option_by_name(self):
        with pytest.raises(
            UsageError, match="unexpected keyword argument 'how'; sweep takes its own option by position"
        ):
            sweep(add, a=[1], b=2, how="zip")
        with pytest.raises(OptionError, match="combined by 'grid' or 'zip', got 'product'"):
            sweep(add, "product", a=[1], b=2)

    def test_a_plain_function_is_not_called(self):
        with pytest.raises(UsageError, match="makes nodes from a decorated function"):
            sweep(pytest.fail, reason=["it was called"])


class TestMapping:
    @pytest.fixture
    def runs(self):
        return sweep(train, data=0, rate=[0.1, 0.2], depth=[3, 4])

    def test_it_arrives_as_a_dict(self, runs):
        (scores,), _ = run(received(runs))
        assert type(scores) is dict
        assert list(scores) == list(runs)

    def test_it_arrives_within_containers(self, runs):
        ((scores,),), key = run(received([runs], key={"k": runs.sel(rate=0.1)}))
        assert (type(scores), list(scores)) == (dict, list(runs))
        assert list(key["key"]["k"]) == [3, 4]

    def test_a_run_returns_results_by_labels(self, runs):
        results, one = run(runs, runs[0.1, 3])
        assert type(results) is dict
        assert {label: result["loss"] for label, result in results.items()} == {
            label: label[0] * label[1] for label in runs
        }
        assert one["loss"] == 0.1 * 3

    def test_a_dynamic_function_returns_it(self):
        @workflow
        def study(rates):
            return sweep(train, data=0, rate=rates)

        assert list(run(study([1, 2]))) == [1, 2]

    def test_it_cannot_be_changed(self, runs):
        for change in (lambda: runs.update({}), lambda: runs.pop((0.1, 3)), lambda: runs.__setitem__(1, 2), runs.clear):
            with pytest.raises(UsageError, match=r"cannot be changed; dict\(runs\) is a dict"):
                change()
        assert len(runs) == 4

    def test_how_it_is_shown(self, runs):
        assert repr(runs) == "<sweep of 4 nodes over rate: 2, depth: 2>"

    def test_selection(self, runs):
        assert list(runs.sel(rate=0.1)) == [3, 4]
        assert list(runs.sel(rate=[0.1])) == [(0.1, 3), (0.1, 4)]
        assert list(runs.sel(depth=[4, 3], rate=0.2)) == [3, 4]
        assert runs.sel(rate=0.1, depth=4) is runs[0.1, 4]
        assert isinstance(runs.sel(), Sweep)

    def test_selection_by_values_that_are_no_labels(self):
        runs = sweep(train, data=0, layers=[[64], [32]], rate=[1])
        assert list(runs.sel(rate=1)) == ["[64]", "[32]"]
        assert list(runs.sel(layers=[[64]])) == [("[64]", 1)]
        assert list(runs.sel(layers="[64]")) == [1]

    def test_what_cannot_be_selected(self, runs):
        with pytest.raises(UnknownNodeError, match=r"no node has rate=0\.3; the values are 0\.1, 0\.2"):
            runs.sel(rate=0.3)
        with pytest.raises(UsageError, match="no parameter 'rates' varies, but rate, depth; did you mean 'rate'"):
            runs.sel(rates=0.3)

    def test_names_of_a_selection(self, runs):
        runs.sel(rate=0.1).set_name("slow")
        assert names(runs)[1:3] == ["slow[rate=0.1,depth=4]", "train[rate=0.2,depth=3]"]

    def test_labels_can_be_pickled(self):
        runs = sweep(same, value=[value for value, _, _ in TestNamesAndLabels.ODD])
        assert pickle.loads(pickle.dumps(list(runs))) == list(runs)


class TestResults:
    @pytest.fixture
    def runs(self):
        return sweep(add, a=[1, 2], b=[10, 20, 30])

    def test_a_table(self, runs):
        pytest.importorskip("pandas")
        table = runs.table(run(runs))
        assert (table.index.names, list(table.columns)) == (["a", "b"], ["result"])
        assert table.loc[(2, 30), "result"] == 32
        assert runs.table(list(run(runs).values())).equals(table)

    def test_a_table_of_one_parameter(self):
        pytest.importorskip("pandas")
        runs = sweep(train, data=0, rate=[1, 2], depth=3)
        table = runs.table(run(runs))
        assert (table.index.name, list(table.columns)) == ("rate", ["loss", "data", "layers"])
        assert list(table["loss"]) == [3, 6]

    def test_an_array(self, runs):
        pytest.importorskip("xarray")
        array = runs.xarray(run(runs))
        assert (array.dims, array.shape, array.name) == (("a", "b"), (2, 3), "result")
        assert array.sel(a=2, b=30) == 32

    def test_a_data_set(self):
        pytest.importorskip("xarray")
        runs = sweep(train, data=Fixed([7, 8, 9]), rate=[1, 2], depth=[3, 4], layers=Fixed([64, 32]))
        found = runs.xarray(run(runs))
        assert {name: found[name].dims[2:] for name in found} == {
            "loss": (), "data": ("data_dim_0",), "layers": ("layers_dim_0",),
        }  # fmt: skip
        assert found.loss.sel(rate=2, depth=4) == 8
        assert found.data.sel(rate=2, depth=4).to_numpy().tolist() == [7, 8, 9]

    def test_a_key_that_is_a_parameter_is_the_coordinate(self):
        pytest.importorskip("xarray")
        runs = sweep(train, data=[1, 2])
        assert list(runs.xarray(run(runs))) == ["loss", "layers"]

    def test_zipped(self):
        pytest.importorskip("xarray")
        runs = sweep(add, "zip", a=[1, 2], b=[10, 20])
        array = runs.xarray(run(runs))
        assert (array.dims, list(array.a), list(array.b), list(array)) == (("run",), [1, 2], [10, 20], [11, 22])
        assert list(runs.table(run(runs)).index) == [(1, 10), (2, 20)]

    def test_arrays_as_results(self):
        pytest.importorskip("xarray")
        runs = sweep(same, value=[[1, 2], [3, 4]])
        array = runs.xarray(run(runs))
        assert (array.dims, array.to_numpy().tolist()) == (("value", "dim_0"), [[1, 2], [3, 4]])
        ragged = sweep(same, value=[[1, 2], [3]])
        assert ragged.xarray(run(ragged)).to_numpy().tolist() == [[1, 2], [3]]

    def test_arrays_of_xarray_as_results(self):
        xarray = pytest.importorskip("xarray")

        @workflow
        def ramp(factor, offset):
            return xarray.DataArray([offset, offset + factor], {"t": [0, 1]}, ["t"])

        runs = sweep(ramp, factor=[1, 2], offset=[10, 20, 30])
        array = runs.xarray(run(runs))
        assert (array.dims, array.shape) == (("factor", "offset", "t"), (2, 3, 2))
        assert array.sel(factor=2, offset=30, t=1) == 32

    def test_results_of_others(self, runs):
        pytest.importorskip("pandas")
        with pytest.raises(UsageError, match=r"there is no result of \(1, 10\): give what run\(\) returned"):
            runs.table({})
        with pytest.raises(UsageError, match="a dict by labels, or a list of 6 in its order, got a list"):
            runs.table([1])

    @pytest.mark.parametrize(("method", "package"), [("table", "pandas"), ("xarray", "xarray")])
    def test_without_the_package(self, runs, method, package, monkeypatch):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(OptionError, match=f"needs the package {package}, which is not installed: pip install"):
            getattr(runs, method)({})


def test_a_query_by_a_name_that_is_no_pattern():
    flow = RefusingWorkflow(sweep(add, a=[1], b=2), workflow_name="w")
    with pytest.warns(UserWarning, match=r"though it is the name of one: re\.escape\(name\) matches a name as it is"):
        assert len(flow.query("add[a=1]")) == 0
    assert len(flow.query(re.escape("add[a=1]"))) == 1
