"""What `check` looks at, one file for each thing that can be wrong."""
