"""Stateful nodes of the documentation: methods of one object run once each, in program order."""

from functionfuse import workflow

@workflow
class IncrementalSum:
    def __init__(self, start):
        self.start = start

    def add(self, n):
        self.start += n
        return self.start

@workflow
def minus(a, b):
    return a - b


one = minus(4, 3).set_name("four_minus_three")
incremental_sum = IncrementalSum(start = one).set_name("IncrementalSum")

two = minus(3, one).set_name("three_minus_one")
incremental_sum.add(two).set_name("one_plus_two")
incremental_sum.add(two).set_name("three_plus_two")
six = incremental_sum.add(one).set_name("five_plus_one")
result = minus(six, 2).set_name("six_minus_two")

from functionfuse.backends.builtin.localback import LocalWorkflow

print(LocalWorkflow(result, workflow_name="incremental_sum").run())
