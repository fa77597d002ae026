"""Rules over result.json: read, checked, judged, and the verdict that follows."""
