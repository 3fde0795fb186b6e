"""The conformance suite of backends: stateful objects of decorated classes."""

from __future__ import annotations

from typing import Any

import pytest

from functionfuse import workflow
from functionfuse.errors import NodeError, WorkflowFailed
from functionfuse.testing.backend_suite import BackendSuite, StepLog, requires
from functionfuse.testing.functions import Heir, IncrementalSum, NotedSum, Shapes, Tally, add, same, start_of
from functionfuse.testing.standard_tests import core


@requires("objects")
class ObjectTests(BackendSuite, suite=True):
    """Calls of a stateful object's methods run once each, in program order."""

    @core
    def test_the_specification(self, make_workflow: Any) -> None:
        """The values of its example, name by name."""

        @workflow
        def minus(a: int, b: int) -> int:
            return a - b

        one = minus(4, 3).set_name("four_minus_three")
        incremental_sum: Any = IncrementalSum(start=one)
        incremental_sum.set_name("IncrementalSum")
        two = minus(3, one).set_name("three_minus_one")
        one_plus_two = incremental_sum.add(two).set_name("one_plus_two")
        three_plus_two = incremental_sum.add(two).set_name("three_plus_two")
        six = incremental_sum.add(one).set_name("five_plus_one")
        result = minus(six, 2).set_name("six_minus_two")
        assert make_workflow(one, two, one_plus_two, three_plus_two, six, result).run() == [1, 2, 3, 5, 6, 4]

    def test_the_constructor_alone_runs_the_methods(self, run: Any) -> None:
        """The object that comes back went through all of its calls, under either scope."""
        made = IncrementalSum(1)
        made.add(2)
        made.add(3)
        assert [run(made).start, run(made, scope="ancestors").start] == [6, 6]

    def test_inherited_methods_without_a_constructor(self, run: Any) -> None:
        """Whatever Python finds on the class is a method."""
        heir = Heir()
        assert run(heir.count(), heir.count(), heir.double(4), heir.step_size()) == [10, 20, 8, 10]

    def test_a_local_class(self, run: Any) -> None:
        """It is sent to workers by value."""

        @workflow
        class Local:
            def __init__(self, n: int) -> None:
                self.n = n

            def grow(self) -> int:
                self.n *= 2
                return self.n

        made = Local(same(3))
        assert run(made.grow(), made.grow()) == [6, 12]

    def test_two_objects_are_apart(self, run: Any) -> None:
        """Each has a state of its own."""
        one, other = IncrementalSum(0), IncrementalSum(100)
        assert run(one.add(1), other.add(1), one.add(1), other.add(1)) == [1, 101, 2, 102]

    def test_running_twice_starts_anew(self, make_workflow: Any) -> None:
        """Every run makes its own object."""
        made = IncrementalSum(0)
        last = made.add(1)
        workflow = make_workflow(last)
        assert [workflow.run(), workflow.run(), make_workflow(last).run()] == [1, 1, 1]

    @core
    def test_an_object_as_an_argument(self, run: Any) -> None:
        """A node that takes it gets its state between two calls."""
        made = IncrementalSum(1)
        before = start_of(made)
        made.add(10)
        between = start_of([made][0])
        again = add(start_of(made), 0)
        last = made.add(100)
        assert run(before, between, again, last, start_of(made)) == [1, 11, 11, 111, 111]

    def test_an_object_in_containers(self, run: Any) -> None:
        """Objects stand where nodes may stand."""

        @workflow
        def starts(objects: Any) -> list[int]:
            return [one.start for one in objects["all"]]

        one, other = IncrementalSum(1), IncrementalSum(2)
        one.add(10)
        assert run(starts({"all": [one, other]})) == [11, 2]

    def test_a_method_that_takes_another_object(self, run: Any) -> None:
        """Or its own."""

        @workflow
        class Purse:
            def __init__(self, coins: int) -> None:
                self.coins = coins

            def take(self, other: Any) -> int:
                self.coins += other.coins
                return self.coins

        mine, yours = Purse(1), Purse(10)
        first = mine.take(yours)
        yours.take(mine)
        assert run(first, mine.take(yours), mine.take(mine)) == [11, 32, 64]

    def test_the_class_of_an_object(self, run: Any) -> None:
        """``isinstance`` knows the decorated class."""

        @workflow
        def is_heir(thing: Any) -> bool:
            return isinstance(thing, Heir)

        assert run(is_heir(Heir()), is_heir(5)) == [True, False]

    @core
    def test_a_class_by_its_name(self, run: Any) -> None:
        """Its own code, and that of functions, sees the class and not what makes nodes."""

        @workflow
        def seen(tally: Any) -> list[Any]:
            return [type(tally) is Tally, Tally.LIMIT, Tally.double(3), isinstance(tally, Tally | None)]

        tally = Tally(2)
        assert run(tally.known(), tally.left(), seen(tally), seen(Tally.full())) == [
            [2, 5, 4, True, True],
            3,
            [True, 5, 6, True],
            [True, 5, 6, True],
        ]
        assert type(run(tally)) is Tally

    def test_methods_that_functools_makes(self, run: Any) -> None:
        """By the type of an argument, and with an argument that is given already."""
        shapes: Any = Shapes()
        assert run(shapes.name(1), shapes.name("a"), shapes.add_one(2)) == ["number 1", "object a", 3]

    def test_a_local_class_by_its_name(self, run: Any) -> None:
        """It is sent to workers with all that it knows of itself."""

        @workflow
        class Local:
            LIMIT = 5

            def __init__(self, n: int) -> None:
                super().__init__()
                self.n = n

            def known(self) -> list[Any]:
                match self:
                    case Local(n=n):
                        return [n, Local.LIMIT, isinstance(self, Local), type(self)(n + 1).n]
                return []

        assert run(Local(same(1)).known()) == [1, 5, True, 2]

    @requires("dynamic")
    def test_a_method_that_returns_another_object(self, run: Any) -> None:
        """A call of the class makes a node in its own code too, if it takes nodes."""
        tally = Tally(2)
        made = run(tally.another())
        assert (type(made), made.calls) == (Tally, 3)

    def test_calling_an_object(self, run: Any) -> None:
        """``__call__`` is a method."""

        @workflow
        class Adder:
            def __call__(self, a: int, b: int = 1) -> int:
                return a + b

        assert run(Adder()(same(4), b=same(2))) == 6

    @core
    def test_a_method_that_fails(self, make_workflow: Any, log: StepLog) -> None:
        """Later calls of the object are left out; other objects go on."""
        heir: Any = Heir()
        other: Any = NotedSum(log.path, 0)
        heir.count()
        heir.fail().set_name("fail")
        later = heir.count().set_name("later")
        with pytest.raises(WorkflowFailed) as caught:
            make_workflow(later, other.add("other", 1)).run(on_error="continue")
        report = caught.value.report
        assert list(report.failed) == ["fail"]
        assert report.skipped == {"later": "fail"}
        assert log.words() == ["start", "other"]

    def test_a_constructor_that_fails(self, make_workflow: Any) -> None:
        """It is a node like any other."""

        @workflow
        class Broken:
            def __init__(self) -> None:
                raise ValueError("no object")

            def method(self) -> None:
                raise AssertionError("there is no object")

        broken: Any = Broken()
        workflow_ = make_workflow(broken.set_name("broken").method())
        with pytest.raises(NodeError, match=r"'broken'.*no object") as caught:
            workflow_.run()
        assert type(caught.value.__cause__) is ValueError

    @requires("dynamic")
    def test_a_method_that_returns_a_node(self, run: Any) -> None:
        """The object is kept, and the node's result is the method's."""
        heir = Heir()
        assert run(heir.later(7), heir.count()) == [14, 17]

    @core
    @requires("retry")
    def test_a_retry_starts_from_the_state_before(self, make_workflow: Any, log: StepLog) -> None:
        """A failed attempt leaves nothing behind in the object."""

        @workflow
        class Fragile:
            def __init__(self) -> None:
                self.values: list[int] = []

            def append(self, path: str) -> list[int]:
                from functionfuse.testing.functions import note, noted_words

                self.values.append(1)
                note(path, "attempt")
                if len(noted_words(path)) < 3:
                    raise ConnectionError("halfway")
                return self.values

        fragile: Any = Fragile()
        workflow_ = make_workflow(fragile.append(log.path).set_name("append"))
        workflow_.query("append").set_retry(2)
        assert workflow_.run() == [1]
