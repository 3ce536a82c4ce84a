"""A small context-mixing model of text: the probability of the next bit, learnt as it goes.

The method is that of the PAQ family (M. Mahoney, "Adaptive weighing of context models for
lossless data compression", 2005): several contexts each remember what followed them, a
logistic mixer weighs their predictions and learns from the result. It suits pages: there is
nothing to transmit but the text, and a few hundred bytes are enough to learn from.

Only +, -, *, / on IEEE doubles and integers are used, each rounded by itself, so encoder and
decoder agree on every machine. Pure Python: about 15 kB/s, and memory-safe on hostile input.
"""

from typing import Final

ORDERS: Final = (0, 1, 2, 3, 4, 6)  # bytes of history; then the word and the column context
CONTEXTS: Final = len(ORDERS) + 2
INPUTS: Final = CONTEXTS + 1  # and the match model
MATCH_BYTES: Final = 5  # history that must agree before a match is followed
LONGEST: Final = 20
MOST: Final = 60  # counts of a bit history saturate here
MEMORY_RATE: Final = 0.02
MIXER_RATE: Final = 0.015
FIRST_WEIGHT: Final = 0.25
STEP: Final = 1.0039138893383475  # e^(1/256)
SIZE: Final = MOST + 1


def _squash_table() -> list[float]:
    """1/(1+e^-x) for x = -8 ... 8 in steps of 1/256, by multiplication only."""
    powers = [1.0]
    for _ in range(2048):
        powers.append(powers[-1] * STEP)
    table = []
    for k in range(-2048, 2048):
        odds = powers[k] if k >= 0 else 1.0 / powers[-k]
        table.append(odds / (1.0 + odds))
    return table


def _stretch_table(squash: list[float]) -> list[float]:
    """The inverse, ln(p/(1-p)), for p = (i + 0.5) / 4096."""
    table, place = [], 0
    for i in range(4096):
        while place < 4095 and squash[place] < (i + 0.5) / 4096:
            place += 1
        table.append((place - 2048) / 256)
    return table


def _first_guess(zeros: int, ones: int) -> float:
    """Probability of a one after a history of counts; a history of one kind is trusted more."""
    if zeros == 0:
        return 1.0 - 0.35 / (ones + 1.2)
    if ones == 0:
        return 0.35 / (zeros + 1.2)
    return (ones + 0.4) / (zeros + ones + 0.8)


def _older(count: int) -> int:
    """A count after the opposite bit was seen: recent bits weigh more than old ones."""
    if count <= 2:
        return count
    return (count + 2) // 2 if count < 6 else count // 2 + 1


def _next_states(bit: int) -> list[int]:
    """The history (zeros * SIZE + ones) after one more bit."""
    table = []
    for zeros in range(SIZE):
        for ones in range(SIZE):
            if bit:
                table.append(_older(zeros) * SIZE + min(ones + 1, MOST))
            else:
                table.append(min(zeros + 1, MOST) * SIZE + _older(ones))
    return table


SQUASH: Final = _squash_table()
STRETCH: Final = _stretch_table(SQUASH)
NEXT: Final = (_next_states(0), _next_states(1))
FIRST: Final = [_first_guess(state // SIZE, state % SIZE) for state in range(SIZE * SIZE)]


class Model:
    """Predicts a text bit by bit. Call `predict` and `update` in turn, eight times a byte."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self._histories: list[dict[int, int]] = [{} for _ in range(CONTEXTS)]
        self._memories = [list(FIRST) for _ in range(CONTEXTS)]
        self._by_match: dict[int, list[float]] = {}
        self._by_partial: dict[int, list[float]] = {}
        self._trust = [1.0 - 0.5 / (length + 1.5) for length in range(LONGEST + 1)]
        self._places: dict[bytes, int] = {}
        self._match, self._length = 0, 0
        self._history, self._word = 0, 0
        self._line, self._above = 0, 0
        self._partial = 1
        self._keys = self._contexts()
        self._inputs = [0.0] * INPUTS

    def copy(self) -> "Model":
        """Return an independent model in the same state, between two bytes."""
        other = Model()
        other.__dict__.update(self.__dict__)
        other.seen = bytearray(self.seen)
        other._histories = [dict(item) for item in self._histories]
        other._memories = [list(item) for item in self._memories]
        other._by_match = {key: list(item) for key, item in self._by_match.items()}
        other._by_partial = {key: list(item) for key, item in self._by_partial.items()}
        other._trust, other._places = list(self._trust), dict(self._places)
        return other

    def learn(self, data: bytes) -> None:
        """Read `data` without coding it."""
        for byte in data:
            for shift in range(7, -1, -1):
                self.predict()
                self.update(byte >> shift & 1)

    def predict(self) -> int:
        """Return the probability that the next bit is 1, in 1/65536, from 1 to 65535."""
        partial = self._partial
        self._bit_keys = keys = [key + partial for key in self._keys]
        self._states = states = [
            history.get(key) for history, key in zip(self._histories, keys, strict=False)
        ]
        match = self._match_input()
        chosen = (CONTEXTS - states.count(None)) * 6
        if self._expected >= 0:
            chosen += 1 + min(self._length, 16) // 4
        first, second = self._by_match.get(chosen), self._by_partial.get(partial)
        if first is None:
            first = self._by_match[chosen] = [FIRST_WEIGHT] * INPUTS
        if second is None:
            second = self._by_partial[partial] = [FIRST_WEIGHT] * INPUTS
        self._weights, self._others = first, second
        dot, other = match * first[CONTEXTS], match * second[CONTEXTS]
        inputs, stretch = [], STRETCH
        for state, memory, a, b in zip(states, self._memories, first, second, strict=False):
            if state is None:
                inputs.append(0.0)
            else:
                value = stretch[int(memory[state] * 4095.99)]
                inputs.append(value)
                dot += value * a
                other += value * b
        inputs.append(match)
        self._inputs = inputs
        dot = 7.99 if dot > 7.99 else -7.99 if dot < -7.99 else dot
        other = 7.99 if other > 7.99 else -7.99 if other < -7.99 else other
        self._guess, self._other_guess = (
            SQUASH[int(dot * 256) + 2048],
            SQUASH[int(other * 256) + 2048],
        )
        both = int(SQUASH[int((dot + other) * 128) + 2048] * 65536)
        return both if 0 < both < 65536 else 1 if both <= 0 else 65535

    def update(self, bit: int) -> None:
        """Learn the bit that `predict` was asked for."""
        step = NEXT[bit]
        error = (bit - self._guess) * MIXER_RATE
        other = (bit - self._other_guess) * MIXER_RATE
        first, second = self._weights, self._others
        rows = zip(
            self._inputs,
            self._states,
            self._bit_keys,
            self._memories,
            self._histories,
            strict=False,
        )
        for i, (value, state, key, memory, history) in enumerate(rows):
            if state is None:
                history[key] = 1 if bit else SIZE
            else:
                first[i] += error * value
                second[i] += other * value
                memory[state] += (bit - memory[state]) * MEMORY_RATE
                history[key] = step[state]
        if self._expected >= 0:
            value = self._inputs[CONTEXTS]
            first[CONTEXTS] += error * value
            second[CONTEXTS] += other * value
            length = min(self._length, LONGEST)
            hit = 1.0 if self._expected == bit else 0.0
            self._trust[length] += (hit - self._trust[length]) * MEMORY_RATE
        self._partial = self._partial * 2 + bit
        if self._partial > 255:
            self._end_byte(self._partial & 255)

    def _match_input(self) -> float:
        """The bit that followed the longest earlier occurrence of the history, if it still fits."""
        self._expected = -1
        if not self._length:
            return 0.0
        byte, partial = self.seen[self._match] | 256, self._partial
        shift = 9 - partial.bit_length()
        if byte >> shift != partial:
            return 0.0
        self._expected = byte >> (shift - 1) & 1
        value = STRETCH[int(self._trust[min(self._length, LONGEST)] * 4095.99)]
        return value if self._expected else -value

    def _end_byte(self, byte: int) -> None:
        seen = self.seen
        followed = self._length and seen[self._match] == byte
        seen.append(byte)
        self._partial = 1
        self._history = (self._history << 8 | byte) & 0xFFFFFFFFFFFF
        folded = byte + 32 if 65 <= byte <= 90 else byte
        letter = 97 <= folded <= 122 or folded >= 128
        self._word = (self._word * 271 + folded) & 0xFFFFFFFFFFFF if letter else 0
        if byte == 10:
            self._above, self._line = self._line, len(seen)
        if followed:
            self._match, self._length = self._match + 1, self._length + 1
        else:
            self._length = 0
        self._find_match()
        self._keys = self._contexts()

    def _find_match(self) -> None:
        seen = self.seen
        recent = bytes(seen[-MATCH_BYTES:])
        if not self._length and recent in self._places:
            self._match, self._length = self._places[recent], 1
            limit = min(32, self._match)
            while self._length < limit and (
                seen[self._match - self._length - 1] == seen[-self._length - 1]
            ):
                self._length += 1
        self._places[recent] = len(seen)

    def _contexts(self) -> list[int]:
        """One integer a context, with eight low bits left for the partial byte."""
        history, seen = self._history, self.seen
        keys = [(history & ((1 << 8 * order) - 1)) << 8 for order in ORDERS]
        column = len(seen) - self._line
        above = seen[self._above + column] if self._above + column < self._line else 10
        keys.append(self._word << 8)
        keys.append((min(column, 255) << 8 | above) << 8)
        return keys


def encode(data: bytes, model: Model) -> bytes:
    """Return `data` coded with a fresh (or primed) model by carryless arithmetic coding."""
    low, high, out = 0, 0xFFFFFFFF, bytearray()
    for byte in data:
        for shift in range(7, -1, -1):
            middle = low + ((high - low) * model.predict() >> 16)
            bit = byte >> shift & 1
            if bit:
                high = middle
            else:
                low = middle + 1
            model.update(bit)
            while (low ^ high) < 1 << 24:
                out.append(high >> 24)
                low, high = (low << 8) & 0xFFFFFFFF, (high << 8 | 255) & 0xFFFFFFFF
    if low:  # the shortest byte string that lies in the interval; the decoder reads zeros after
        for size in (8, 16, 24, 32):
            value = ((low >> (32 - size)) + (low & ((1 << (32 - size)) - 1) > 0)) << (32 - size)
            if value <= high:
                out += value.to_bytes(4, "big")[: size // 8]
                break
    return bytes(out).rstrip(b"\x00")


class Decoder:
    """Gives back, byte by byte, what `encode` coded with an equal model."""

    def __init__(self, data: bytes, model: Model) -> None:
        self._data, self._model, self._place = data, model, 4
        self._low, self._high = 0, 0xFFFFFFFF
        self._code = int.from_bytes(data[:4].ljust(4, b"\x00"), "big")

    def byte(self) -> int:
        """Return the next byte; after the end the result is meaningless, but never an error."""
        model, low, high, code = self._model, self._low, self._high, self._code
        for _ in range(8):
            middle = low + ((high - low) * model.predict() >> 16)
            bit = int(code <= middle)
            if bit:
                high = middle
            else:
                low = middle + 1
            model.update(bit)
            while (low ^ high) < 1 << 24:
                low, high = (low << 8) & 0xFFFFFFFF, (high << 8 | 255) & 0xFFFFFFFF
                following = self._data[self._place] if self._place < len(self._data) else 0
                code, self._place = (code << 8 | following) & 0xFFFFFFFF, self._place + 1
        self._low, self._high, self._code = low, high, code
        return model.seen[-1]


def decode(data: bytes, length: int, model: Model) -> bytes:
    """Return the `length` bytes that `encode` coded as `data` with an equal model."""
    decoder = Decoder(data, model)
    return bytes(decoder.byte() for _ in range(length))
