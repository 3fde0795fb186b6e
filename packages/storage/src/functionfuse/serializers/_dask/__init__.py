"""Dask arrays: their blocks, in HDF5 and in Zarr."""
