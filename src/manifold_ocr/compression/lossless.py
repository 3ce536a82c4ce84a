"""placeholder"""
import zstandard, brotli
def compress(data: bytes, *, effort: str = "best") -> bytes:
    return min((b"0"+data, b"1"+zstandard.ZstdCompressor(level=19).compress(data), b"2"+brotli.compress(data)), key=len)
