"""What is being audited: a model file -> an opened classifier, its final linear head, its torch shadow copy."""
