// The precompiled header is built from this empty file: see room.cmake.
