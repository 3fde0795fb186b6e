"""What a node uses, imported by the module of the nodes only."""


def double(x):
    return 2 * x
