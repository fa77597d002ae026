"""The final linear head: found in the graph, read, and proved by numbers."""
