"""What is stored of durable workflows."""
