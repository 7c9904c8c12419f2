"""A user at a shell: what the command line's tests have in common."""
