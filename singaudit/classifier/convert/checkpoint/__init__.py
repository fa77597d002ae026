"""What checkpoints hold that no library registers: heads under other names, fastai's networks, foreign objects."""
