"""Records: their bytes, names, checksums and signatures."""
