"""Sources of sound: microphones, network streams and files, all as AudioChunks."""
