"""Stores that keep records and blobs as objects, over any client of an object store."""
