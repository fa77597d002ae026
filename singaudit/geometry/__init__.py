"""What the head cannot see: the null space, features split along it, equivalent features."""
