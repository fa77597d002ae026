"""Numbers from pairs: scores, controls, intervals, gates, verdict. Pure functions over arrays."""
