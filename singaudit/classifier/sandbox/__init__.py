"""The process in which an untrusted model is parsed and run."""
