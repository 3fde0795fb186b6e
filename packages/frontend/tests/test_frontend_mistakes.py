"""The most likely mistakes of beginners: what was written, and the whole of what is said."""

# ruff: noqa: E501  texts in whole
from __future__ import annotations

import pickle
import re
import warnings
from functools import partial
from pathlib import Path

import numpy  # noqa: TID251  of users, as pandas
import pandas
import pytest

from functionfuse import workflow
from functionfuse.backends.base import BaseWorkflow


class Here(BaseWorkflow):
    """Runs nodes in this process."""

    def execute(self, run):
        for task in run.in_order():
            run.perform_here(task)


here = partial(Here, workflow_name="first")


@workflow
def load(n=3):
    return list(range(n))


@workflow
def mean(values, *, scale=1):
    return scale * sum(values) / len(values)


def generator():
    yield 1


def data():
    return load(3).set_name("data")


def branch(node):
    return 1 if node else 2


def loop(node):
    return [x for x in node]  # noqa: C416


def unpack(node):
    a, b = node
    return a, b


SHOWN = "<node 'data' of load>"
NO_VALUE = f"{SHOWN} has no value before the workflow runs, so "
COMPUTED = (
    f"UsageError: {NO_VALUE}nothing can be computed from it; compute inside a decorated function that takes the node as "
    "an argument"
)
DESCRIBES = (
    f"UserWarning: the text of {SHOWN} describes the node: its value is not known before the workflow runs; make the text "
    "inside a decorated function, or use repr(node) to show the node"
)
ITERATED = (
    f"UsageError: {NO_VALUE}it cannot be iterated or unpacked; take items by index (node[0], node[1]), or loop inside a "
    "decorated function"
)
COMPARED = "; compare inside a decorated function, or use `is` (a set or dict for many) to find the node itself"
NO_PATH = (
    f"UsageError: {NO_VALUE}it is no path; open the file inside a decorated function that takes the node as an argument"
)
NO_LENGTH = f"UsageError: {NO_VALUE}it has no length; call len() inside a decorated function"

# -- a node used as if it were its value

VALUES = {
    "node + 1": (lambda node: node + 1, COMPUTED),
    "1 + node": (lambda node: 1 + node, COMPUTED),
    "-node": (lambda node: -node, COMPUTED),
    "node @ node": (lambda node: node @ node, COMPUTED),
    "sum(nodes)": (lambda node: sum([node, node]), COMPUTED),
    "float(node)": (float, COMPUTED),
    "range(node)": (range, COMPUTED),
    "round(node)": (round, COMPUTED),
    "values[node]": (lambda node: [1, 2][node], COMPUTED),
    "np.sin(node)": (numpy.sin, COMPUTED),
    "np.mean(node)": (numpy.mean, COMPUTED),
    "np.stack(nodes)": (lambda node: numpy.stack([node, node]), COMPUTED),
    "array * node": (lambda node: numpy.ones(3) * node, COMPUTED),
    "np.float64(2) * node": (lambda node: numpy.float64(2) * node, COMPUTED),
    "pd.DataFrame": (lambda node: pandas.DataFrame({"a": node}), NO_LENGTH),
    "pd.read_csv(node)": (pandas.read_csv, NO_PATH),
    "open(node)": (open, NO_PATH),
    "Path(node)": (Path, NO_PATH),
    "len(node)": (len, NO_LENGTH),
    "for x in node": (loop, ITERATED),
    "a, b = node": (unpack, ITERATED),
    "if node": (
        branch,
        f"UsageError: {NO_VALUE}it is neither true nor false; decide inside a decorated function (it may return the nodes "
        "that run next), or compare with `is None`",
    ),
    "node > 1": (lambda node: node > 1, f"UsageError: {NO_VALUE}it cannot be compared with 1{COMPARED}"),
    "sorted(nodes)": (
        lambda node: sorted([node, load()]),
        f"UsageError: <node of load> has no value before the workflow runs, so it cannot be compared with {SHOWN}{COMPARED}",
    ),
    "f-string": (
        lambda node: f"{node}",
        f"UsageError: {NO_VALUE}it cannot be part of a text; make the text inside a decorated function, or write "
        "{node!r} for a text that describes the node",
    ),
    "print(node)": (print, DESCRIBES),
    "node.shape": (
        lambda node: node.shape,
        f"NodeAttributeError: {NO_VALUE}it has no attribute 'shape'; read the attribute inside a decorated function",
    ),
    "pickle": (
        pickle.dumps,
        f"UsageError: {SHOWN} cannot be pickled or copied, because it is part of a graph and not a value; pass it as an "
        "argument of a decorated function, or store the result of the run",
    ),
    "node()": (lambda node: node(), "TypeError: 'Node' object is not callable"),
}

# -- nodes, functions and names

GRAPHS = {
    "node.run()": (
        lambda: data().run(),
        f"NodeAttributeError: {SHOWN} does not run by itself; a workflow runs it: "
        "LocalWorkflow(node, workflow_name=...).run() of functionfuse.backends.builtin.localback",
    ),
    "function.run()": (
        lambda: load.run(),
        "NodeAttributeError: <workflow function load> is no node and has no 'run'; a call of it makes a node: load(...)",
    ),
    "function.set_name": (
        lambda: load.set_name("data"),
        "NodeAttributeError: <workflow function load> is no node and has no 'set_name'; a call of it makes a node: load(...)",
    ),
    "node[0].set_name": (
        lambda: data()[0].set_name("first"),
        f"UsageError: {SHOWN}[0] is an item of a result and cannot be named 'first'; name the node, or return the item "
        "from a decorated function of its own",
    ),
    "set_name(3)": (
        lambda: load().set_name(3),
        "InvalidNameError: a name must be a non-empty string, got 3 for <node of load>",
    ),
    "a wrong keyword": (
        lambda: mean(data(), scal=2),
        "UsageError: mean(values, *, scale=1): got an unexpected keyword argument 'scal'",
    ),
    "too many arguments": (
        lambda: mean(data(), 2),
        "UsageError: mean(values, *, scale=1): too many positional arguments",
    ),
    "a generator function": (
        lambda: workflow(generator),
        "UsageError: generator is a generator function: its result is consumed once and is not a value; decorate a "
        "function that returns a list, or that runs it to its end",
    ),
    "a generator": (
        lambda: mean(x for x in [1, 2]),
        "UsageError: an argument is an iterator, generator, which is used up once and is not a value: use list(...) of "
        "it, or what it reads from",
    ),
    "a node in an array": (
        lambda: mean(numpy.array([data()])),
        f"UsageError: a 'ndarray' holds {SHOWN}, whose value is not known yet, and is not searched for nodes; give the "
        "nodes in a list, tuple, dict or set, and make the other object in the decorated function",
    ),
    "a decorated node": (
        lambda: workflow(data()),
        f"UsageError: workflow decorates functions and classes, got {SHOWN}",
    ),
}

# -- workflows

WORKFLOWS = {
    "a list of nodes": (
        lambda: here([data(), data()]),
        f"OptionError: a workflow is made from nodes, got [{SHOWN}, {SHOWN}]; give its nodes one by one: *nodes",
    ),
    "the function": (
        lambda: here(load),
        "OptionError: a workflow is made from nodes, got <workflow function load>; call the decorated function to make one",
    ),
    "no name": (
        lambda: Here(data()),
        "TypeError: BaseWorkflow.__init__() missing 1 required keyword-only argument: 'workflow_name'",
    ),
    "a name twice": (
        lambda: here(data(), data()),
        "DuplicateNameError: two nodes are named 'data': load at FILE:LINE and load at FILE:LINE; names are unique within "
        'a graph (a notebook cell that was run twice made its nodes twice: scope="ancestors" leaves the old ones out)',
    ),
    "an option of run": (
        lambda: here(data()).run(onerror="continue"),
        "UsageError: run() got an unexpected keyword argument 'onerror'; did you mean 'on_error'?",
    ),
    "a pattern without a match": (
        lambda: here(data()).query("dta"),
        "UserWarning: no node's name matches 'dta' as a whole; close names: 'data'",
    ),
    "a wildcard": (
        lambda: here(data()).query("*"),
        "PatternError: '*' is not a regular expression: nothing to repeat at position 0; re.escape(name) matches a name "
        "as it is",
    ),
    "an unknown name": (
        lambda: here(data()).replace("dta", data()),
        "UnknownNodeError: no node is named 'dta' in workflow 'first'; did you mean 'data'?",
    ),
    "a dict as storage": (
        lambda: here(data()).set_storage({"kind": "file"}),
        "OptionError: {'kind': 'file'} is not a store: it has no always_read, new_workflow, save, read_task, info, "
        "has_tasks, and no get_writer_funcs",
    ),
    "a function as plugin": (
        lambda: here(data()).set_plugin("data", len),
        "OptionError: <built-in function len> is not a plugin: it has no method 'local_initialize'; a function becomes "
        "one with InitializerPlugin(function)",
    ),
    "the function as argument": (
        lambda: here(mean(load).set_name("mean")).run(),
        "NodeError: node 'mean' failed: TypeError: 'WorkflowFunction' object is not iterable\n"
        "  called as mean(<workflow function load>)\n"
        "  at FILE:LINE, in mean: return scale * sum(values) / len(values)",
    ),
}


def said(write, *arguments):
    """Return what is raised, or warned of, with its type, and without places."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            write(*arguments)
        except Exception as error:
            return re.sub(re.escape(__file__) + r":\d+", "FILE:LINE", f"{type(error).__name__}: {error}")
    return "nothing"


@pytest.mark.parametrize("written", VALUES)
def test_a_node_is_used_as_its_value(written):
    write, says = VALUES[written]
    assert said(write, data()) == says


@pytest.mark.parametrize("written", GRAPHS)
def test_nodes_functions_and_names(written):
    write, says = GRAPHS[written]
    assert said(write) == says


@pytest.mark.parametrize("written", WORKFLOWS)
def test_workflows(written):
    write, says = WORKFLOWS[written]
    assert said(write) == says


def test_an_item_is_no_value_either():
    assert said(lambda: data()["a"] + 1).startswith("UsageError: <node 'data' of load>['a'] has no value")


def test_other_attributes_of_a_function_are_missing_as_ever():
    assert not hasattr(load, "no_such")
    assert not hasattr(load, "__array__")
