"""What people read: pages and charts from a result."""
