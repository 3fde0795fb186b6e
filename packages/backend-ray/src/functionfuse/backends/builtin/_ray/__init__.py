"""What RayWorkflow is made of."""
