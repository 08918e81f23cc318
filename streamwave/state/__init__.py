"""The folder that holds our state, and the secrets in it."""
