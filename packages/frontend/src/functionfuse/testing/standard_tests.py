"""Standard tests: they can be added to, but neither deleted nor replaced."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeVar

Tested = TypeVar("Tested")


def core(test: Tested) -> Tested:
    """Mark a standard test as part of the core, which variants of an implementation run in every tier."""
    test.is_core = True  # type: ignore[attr-defined]
    return test


def thorough(test: Tested) -> Tested:
    """Mark a standard test as one that takes long for what it adds: a test session may leave it out."""
    test.is_thorough = True  # type: ignore[attr-defined]
    return test


class StandardTests:
    """Base of a conformance suite. A class that is part of one is defined with ``suite=True``.

    Any other subclass is an implementation. One that replaces a standard test, or sets it to None, is refused,
    unless its test is marked with ``@pytest.mark.xfail(reason=...)``.

    Attributes:
        tier: "whole" for an engine or a kind of store; "core" for a variant of one, such as another task runner, and
            for an engine whose calls take long; "extra" for what differs from an engine by the way to it alone, such
            as a client. A test session may leave out standard tests of the last two that are not part of the core.
    """

    tier: ClassVar[Literal["whole", "core", "extra"]] = "whole"

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
