"""Floor 2: transformations of functions. Importing it gives Tensor `backward` and hooks."""
