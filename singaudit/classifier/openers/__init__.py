"""Every way to name a classifier: a file, a folder, the hub, timm, torchvision."""
