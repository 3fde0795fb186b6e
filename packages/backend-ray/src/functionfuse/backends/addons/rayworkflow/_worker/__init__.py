"""What runs in Ray's workers."""
