"""Small helpers without knowledge of media: files, locks, processes, what others on this machine may touch."""
