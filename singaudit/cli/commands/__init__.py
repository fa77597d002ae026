"""What the commands do, between the command line and the pipeline: settings in, files and an exit code out."""
