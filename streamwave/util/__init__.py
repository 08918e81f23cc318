"""Helpers that know nothing about media: files, locks, processes, and protection from other users of the machine."""
