"""What to do about a finding: a last layer fitted anew, what the logits see kept alone, a group erased."""
