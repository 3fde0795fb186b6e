"""What KFPWorkflow is made of."""
