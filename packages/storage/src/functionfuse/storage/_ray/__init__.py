"""The store on a disk of one machine in a Ray cluster."""
