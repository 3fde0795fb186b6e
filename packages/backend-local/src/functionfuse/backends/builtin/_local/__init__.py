"""What LocalWorkflow and GraphWorkflow are made of."""
