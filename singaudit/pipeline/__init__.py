"""The whole audit: the stages in order, and what runs them for one photograph or a model alone."""
