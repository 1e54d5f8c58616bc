"""Sources of sound: microphones, network streams and files, all as AudioChunks."""

from pe_stream.audio.source import Source, SourceSpec, open_source

__all__ = ["Source", "SourceSpec", "open_source"]
