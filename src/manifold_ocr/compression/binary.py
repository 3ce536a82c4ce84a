"""Small strict pieces of the binary formats: varints, packed bits, checked reading."""

from manifold_ocr.errors import UserError


class DamagedError(UserError):
    """Bytes that are not a whole, unaltered file of the expected format."""


class Reader:
    """Reads a byte string front to back; every overrun is a `DamagedError`."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name, self.position = data, name, 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        if count < 0 or count > len(self.data) - self.position:
            raise self.damaged(f"{count} bytes wanted, {self.left} left")
        self.position += count
        return self.data[self.position - count : self.position]

    def integer(self, size: int) -> int:
        """Return the next little-endian unsigned integer of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def varint(self) -> int:
        """Return the next LEB128 integer (at most 63 bits); padded encodings are refused."""
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                if byte == 0 and shift:
                    raise self.damaged("an integer is padded with zeros")
                return value
        raise self.damaged("an integer is longer than 63 bits")

    def text(self) -> str:
        """Return the next length-prefixed UTF-8 string."""
        try:
            return self.take(self.varint()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged(f"a name is not UTF-8 ({error.reason})") from error

    def bits(self, count: int, width: int) -> list[int]:
        """Return `count` integers of `width` bits, most significant bit first; spare bits 0."""
        size = (count * width + 7) // 8
        packed = self.take(size)
        spare = 8 * size - count * width
        if packed and packed[-1] & ((1 << spare) - 1):
            raise self.damaged("spare bits are not zero")
        return _unpack(packed, count, width)

    def end(self) -> None:
        """Require that nothing is left."""
        if self.left:
            raise self.damaged(f"{self.left} bytes follow the end")

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self.data) - self.position

    def damaged(self, problem: str) -> DamagedError:
        """Return the error to raise for `problem` at the present position."""
        return DamagedError(
            f"{self.name}: damaged or not written by this program "
            f"(byte {self.position}: {problem}); copy or build the file again"
        )


def varint(value: int) -> bytes:
    """Return the LEB128 bytes of a non-negative integer below 2^63."""
    if not 0 <= value < 1 << 63:
        raise ValueError(f"a varint holds 0 to 2^63-1, not {value}")
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def text_field(value: str) -> bytes:
    """Return a length-prefixed UTF-8 string."""
    data = value.encode("utf-8")
    return varint(len(data)) + data


def pack_bits(values: list[int], width: int) -> bytes:
    """Return integers of `width` bits side by side, most significant first, zero padded."""
    if width == 0:
        return b""
    text = "".join(f"{value:0{width}b}" for value in values)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big") if text else b""


def _unpack(packed: bytes, count: int, width: int) -> list[int]:
    if width == 0:
        return [0] * count
    text = "".join(f"{byte:08b}" for byte in packed)
    return [int(text[i * width : (i + 1) * width], 2) for i in range(count)]
