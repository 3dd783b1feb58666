"""What stands behind the method."""
