"""Serializers for data of other libraries: dask arrays, text in DataFrames, torch tensors.

All are found without being registered, where their library is installed.
"""
