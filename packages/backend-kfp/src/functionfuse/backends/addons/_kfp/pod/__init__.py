"""What runs in a pod, and the formats that pods and the client share. It imports neither `compile` nor `client`."""
