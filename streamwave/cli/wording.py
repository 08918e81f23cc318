"""Rewords the library's messages, which use the names of the Python API, for users of the command line."""

from __future__ import annotations

#: Phrases of the library and what the command line says instead.
PHRASES = {
    "overwrite=True": "--overwrite",
    "split=True": "--split",
    "leave audio_track out": "leave --audio-track out",
    "list_broadcasts() shows which there are": "see streamwave broadcasts ls",
    "Broadcast.verify()": "streamwave broadcasts verify",
}


def reworded(text: str) -> str:
    """``text`` with the options and commands in place of the API's parameters and functions."""
    for phrase, ours in PHRASES.items():
        text = text.replace(phrase, ours)
    return text
