from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StreamState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STREAM_STATE_UNSPECIFIED: _ClassVar[StreamState]
    STREAM_STATE_STARTING: _ClassVar[StreamState]
    STREAM_STATE_LIVE: _ClassVar[StreamState]
    STREAM_STATE_WAITING: _ClassVar[StreamState]
    STREAM_STATE_FINISHING: _ClassVar[StreamState]
    STREAM_STATE_FINISHED: _ClassVar[StreamState]
    STREAM_STATE_FAILED: _ClassVar[StreamState]
STREAM_STATE_UNSPECIFIED: StreamState
STREAM_STATE_STARTING: StreamState
STREAM_STATE_LIVE: StreamState
STREAM_STATE_WAITING: StreamState
STREAM_STATE_FINISHING: StreamState
STREAM_STATE_FINISHED: StreamState
STREAM_STATE_FAILED: StreamState

class StartStreamRequest(_message.Message):
    __slots__ = ("session", "stream", "source", "metadata", "title")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SESSION_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    session: str
    stream: str
    source: str
    metadata: _containers.ScalarMap[str, str]
    title: str
    def __init__(self, session: _Optional[str] = ..., stream: _Optional[str] = ..., source: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., title: _Optional[str] = ...) -> None: ...

class StartStreamResponse(_message.Message):
    __slots__ = ("session", "broadcast", "flow_run_id", "created", "output", "state")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    BROADCAST_FIELD_NUMBER: _ClassVar[int]
    FLOW_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    session: str
    broadcast: str
    flow_run_id: str
    created: bool
    output: str
    state: StreamState
    def __init__(self, session: _Optional[str] = ..., broadcast: _Optional[str] = ..., flow_run_id: _Optional[str] = ..., created: _Optional[bool] = ..., output: _Optional[str] = ..., state: _Optional[_Union[StreamState, str]] = ...) -> None: ...

class StopStreamRequest(_message.Message):
    __slots__ = ("stream", "session", "finish_now")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    FINISH_NOW_FIELD_NUMBER: _ClassVar[int]
    stream: str
    session: str
    finish_now: bool
    def __init__(self, stream: _Optional[str] = ..., session: _Optional[str] = ..., finish_now: _Optional[bool] = ...) -> None: ...

class StopStreamResponse(_message.Message):
    __slots__ = ("sessions", "status")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedScalarFieldContainer[str]
    status: StreamStatus
    def __init__(self, sessions: _Optional[_Iterable[str]] = ..., status: _Optional[_Union[StreamStatus, _Mapping]] = ...) -> None: ...

class ForwardMetadataRequest(_message.Message):
    __slots__ = ("session", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SESSION_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    session: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, session: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ForwardMetadataResponse(_message.Message):
    __slots__ = ("metadata",)
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    METADATA_FIELD_NUMBER: _ClassVar[int]
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GetStreamRequest(_message.Message):
    __slots__ = ("stream", "broadcast")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    BROADCAST_FIELD_NUMBER: _ClassVar[int]
    stream: str
    broadcast: str
    def __init__(self, stream: _Optional[str] = ..., broadcast: _Optional[str] = ...) -> None: ...

class GetStreamResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: StreamStatus
    def __init__(self, status: _Optional[_Union[StreamStatus, _Mapping]] = ...) -> None: ...

class ListStreamsRequest(_message.Message):
    __slots__ = ("stream", "include_finished", "limit")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_FINISHED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    stream: str
    include_finished: bool
    limit: int
    def __init__(self, stream: _Optional[str] = ..., include_finished: _Optional[bool] = ..., limit: _Optional[int] = ...) -> None: ...

class ListStreamsResponse(_message.Message):
    __slots__ = ("streams", "left_out")
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    streams: _containers.RepeatedCompositeFieldContainer[StreamStatus]
    left_out: int
    def __init__(self, streams: _Optional[_Iterable[_Union[StreamStatus, _Mapping]]] = ..., left_out: _Optional[int] = ...) -> None: ...

class WatchStreamRequest(_message.Message):
    __slots__ = ("stream", "broadcast")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    BROADCAST_FIELD_NUMBER: _ClassVar[int]
    stream: str
    broadcast: str
    def __init__(self, stream: _Optional[str] = ..., broadcast: _Optional[str] = ...) -> None: ...

class WatchStreamResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: StreamStatus
    def __init__(self, status: _Optional[_Union[StreamStatus, _Mapping]] = ...) -> None: ...

class StreamStatus(_message.Message):
    __slots__ = ("stream", "broadcast", "state", "sessions", "last_session", "receiving", "flow_run_id", "run_alive", "attempts", "chunks", "published_ms", "received_ms", "lag_ms", "bitrates_bps", "metadata", "output", "title", "created_unix_ms", "updated_unix_ms", "warnings", "error", "outputs")
    class BitratesBpsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STREAM_FIELD_NUMBER: _ClassVar[int]
    BROADCAST_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    LAST_SESSION_FIELD_NUMBER: _ClassVar[int]
    RECEIVING_FIELD_NUMBER: _ClassVar[int]
    FLOW_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ALIVE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_MS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_MS_FIELD_NUMBER: _ClassVar[int]
    LAG_MS_FIELD_NUMBER: _ClassVar[int]
    BITRATES_BPS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    CREATED_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    UPDATED_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    stream: str
    broadcast: str
    state: StreamState
    sessions: int
    last_session: str
    receiving: bool
    flow_run_id: str
    run_alive: bool
    attempts: int
    chunks: int
    published_ms: int
    received_ms: int
    lag_ms: int
    bitrates_bps: _containers.ScalarMap[str, int]
    metadata: _containers.ScalarMap[str, str]
    output: str
    title: str
    created_unix_ms: int
    updated_unix_ms: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    error: str
    outputs: _containers.RepeatedCompositeFieldContainer[OutputStatus]
    def __init__(self, stream: _Optional[str] = ..., broadcast: _Optional[str] = ..., state: _Optional[_Union[StreamState, str]] = ..., sessions: _Optional[int] = ..., last_session: _Optional[str] = ..., receiving: _Optional[bool] = ..., flow_run_id: _Optional[str] = ..., run_alive: _Optional[bool] = ..., attempts: _Optional[int] = ..., chunks: _Optional[int] = ..., published_ms: _Optional[int] = ..., received_ms: _Optional[int] = ..., lag_ms: _Optional[int] = ..., bitrates_bps: _Optional[_Mapping[str, int]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., output: _Optional[str] = ..., title: _Optional[str] = ..., created_unix_ms: _Optional[int] = ..., updated_unix_ms: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ..., error: _Optional[str] = ..., outputs: _Optional[_Iterable[_Union[OutputStatus, _Mapping]]] = ...) -> None: ...

class OutputStatus(_message.Message):
    __slots__ = ("output", "chunks", "lag_chunks", "lag_ms", "error")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    LAG_CHUNKS_FIELD_NUMBER: _ClassVar[int]
    LAG_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    output: str
    chunks: int
    lag_chunks: int
    lag_ms: int
    error: str
    def __init__(self, output: _Optional[str] = ..., chunks: _Optional[int] = ..., lag_chunks: _Optional[int] = ..., lag_ms: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...
