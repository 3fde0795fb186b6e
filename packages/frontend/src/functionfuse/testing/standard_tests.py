"""Standard tests: they can be added to, but neither deleted nor replaced."""

from __future__ import annotations

from typing import Any


class StandardTests:
    """Base of a conformance suite. A class that is part of one is defined with ``suite=True``.

    Any other subclass is an implementation. One that replaces a standard test, or sets it to None, is refused,
    unless its test is marked with ``@pytest.mark.xfail(reason=...)``.
    """

    def __init_subclass__(cls, *, suite: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._is_suite = suite
        if not suite:
            for name, standard in _standard_tests(cls).items():
                own = getattr(cls, name, None)
                if own is not standard and not _is_excused(own):
                    raise TypeError(
                        f"{cls.__qualname__} replaces the standard test {name!r}; an implementation that fails it "
                        f"declares that with @pytest.mark.xfail(reason=...) and calls super().{name}(...)"
                    )

    _is_suite: bool = True


def _standard_tests(implementation: type) -> dict[str, Any]:
    return {
        name: test
        for part in reversed(implementation.__mro__)
        if part.__dict__.get("_is_suite")
        for name, test in vars(part).items()
        if name.startswith("test_")
    }


def _is_excused(test: Any) -> bool:
    """Return True if a test is marked as failing, with a reason."""
    marks = getattr(test, "pytestmark", [])
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)
