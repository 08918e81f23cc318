"""A hook call of nginx-rtmp: the fields that this service uses, validated."""

from __future__ import annotations

import re

from services.ingest.refusal import Refused
from streamwave.model import Frozen
from streamwave.streams.keys import hash_key
from streamwave.streams.publishes import Client

_CLIENT = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_PUBLISH_ID = re.compile(r"[0-9a-f]{32}")
MAX_NAME = 512

#: The values of the field ``call`` that nginx-rtmp sends to each hook.
CALLS = {
    "start-stream": {"publish"},
    "stop-stream": {"publish_done"},
    "play-stream": {"play"},
    "update-stream": {"update_publish", "update_play", "update"},
}


class HookCall(Frozen):
    """``name`` is the stream key for publishers and the public name for pullers. Never log it."""

    name: str
    client: Client
    address: str
    encoder: str
    call: str
    publish: str

    @property
    def key_hash(self) -> str:
        """The hash of ``name``, taken as a stream key."""
        return hash_key(self.name)

    @property
    def key_hint(self) -> str:
        """A prefix of the hash for logs: distinguishes keys without revealing them."""
        return self.key_hash[:8]


def read_call(hook: str, instance: str, found: dict[str, str]) -> HookCall:
    """Validate the fields ``found`` of a call to ``hook``. ``instance`` identifies the start of nginx-rtmp that calls.

    Raises:
        Refused: a field is missing or invalid.
    """
    name = found.get("name") or found.get("key") or ""
    if not name:
        raise Refused(400, "the field name is missing: it carries the stream key")
    if len(name) > MAX_NAME:
        raise Refused(403, "no stream has this key")
    if not _CLIENT.fullmatch(found.get("clientid", "")):
        raise Refused(400, "the field clientid is missing or invalid: it identifies the connection")
    call = found.get("call", min(CALLS[hook]))
    if call not in CALLS[hook]:
        raise Refused(400, f"the field call must be {' or '.join(sorted(CALLS[hook]))} here")
    publish = found.get("publish", "")
    if hook == "play-stream" and publish and not _PUBLISH_ID.fullmatch(publish):
        raise Refused(403, "only the segmenter may pull")
    return HookCall(
        name=name,
        client=Client(instance=instance[:64], clientid=found["clientid"]),
        address=_printable(found.get("addr", ""), 64),
        encoder=_printable(found.get("flashver", ""), 200),
        call=call,
        publish=publish,
    )


def _printable(text: str, length: int) -> str:
    return "".join(letter for letter in text[:length] if letter.isascii() and letter.isprintable())
