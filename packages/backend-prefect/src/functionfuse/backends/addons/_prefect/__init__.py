"""What PrefectWorkflow is made of."""
