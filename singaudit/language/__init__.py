"""What features mean: vision-language encoder, prompts, translator, concepts."""
