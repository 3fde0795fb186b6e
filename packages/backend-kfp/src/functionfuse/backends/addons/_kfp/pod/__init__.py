"""What runs in a pod, and what pods and the driver exchange."""
