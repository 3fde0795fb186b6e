"""Fingerprints: what makes a result, so that a stored one is reused only where it is still right.

Arguments count by the parameters that take them, however the call is spelled. A function is fingerprinted by what
really runs, its compiled code: comments, formatting, docstrings, decorators, files, lines and names of local variables
are not in it, and a source file that was edited after its import does not matter. With it go the helpers and constants
of the same project that it uses, to any depth, its defaults and its closure. Libraries count by name alone.
"""

from functionfuse.fingerprint.encoding import Unfingerprintable
from functionfuse.fingerprint.recipe import Inherited, RecipeBook, book_of
from functionfuse.fingerprint.values import Fingerprinter
from functionfuse.plan import Recipe

__all__ = ["Fingerprinter", "Inherited", "Recipe", "RecipeBook", "Unfingerprintable", "book_of"]
