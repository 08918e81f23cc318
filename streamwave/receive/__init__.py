"""The process that receives a source: it cuts chunks at keyframes and writes them to the spool."""
