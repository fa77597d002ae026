"""The embedded default: tiny vision-language model, planted classifiers, the demo's page."""
