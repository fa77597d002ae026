"""What it looks like: real images retrieved for translated features."""
