"""Files of the model hub and of torch's server, for every stage that needs some: pinned, checked, watched."""
