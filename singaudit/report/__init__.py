"""What people and machines read: the result model, HTML, PDF, JSON and CSV."""
