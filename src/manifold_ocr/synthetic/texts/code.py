"""Source code, shell commands and log lines."""

import random

from manifold_ocr.synthetic.grammar import TextSource
from manifold_ocr.synthetic.texts.base import TEST_WORDS, TRAIN_WORDS, TextLine

LONGEST = 52  # characters of a line without its indent

_NAMES_TRAIN = ("{verb}_{noun}", "{adjective}_{noun}", "{noun}", "{noun}_{noun}", "n_{noun}")
_NAMES_TEST = ("{noun}{noun|cap}", "{verb}{noun|cap}", "{noun}Id", "is{adjective|cap}", "{noun}")

SCRIPTS = TextSource(
    name="scripts and queries",
    words={**TRAIN_WORDS, "name": _NAMES_TRAIN, "op": ("+", "-", "*", "//", "%", "<<", "&")},
    templates={
        "open": (
            "def {name}({name}, *, {name}=None):",
            "for {name}, {name} in enumerate({name}):",
            "if not {name} or len({name}) >= {int}:",
            "with open(f'{noun}_{int}.txt') as {name}:",
            "while {name}[{digit}] != '{letters}':",
            "class {noun|cap}{noun|cap}({noun|cap}):",
            "try:",
        ),
        "body": (
            "{name} = {name}.{verb}({int}, {decimal})",
            "return {{name}: {name}[-{digit}] for {letter} in {name}}",
            "{name} {op}= {name}[{digit}:{int}] {op} 0x{hex}",
            'print(f"{noun}: {{name}:.{digit}f}")',
            "raise ValueError('{adjective} {noun}')",
            "assert {name}({int}) == ({int}, {int})",
            "self._{name} = [{decimal}, -{decimal}, 1e-{digit}]",
            "# TODO({first|lower}): {verb} the {adjective} {noun}",
            "lambda {letter|lower}: {letter|lower}**{digit} {op} {name}",
            "from {noun}.{noun} import {name} as {letters|lower}",
            "$ grep -rn '{name}' ./{noun}/*.py | head -n {int}",
            "SELECT {name}, COUNT(*) FROM {name} WHERE id <> {int}",
            "{name}: dict[str, list[int]] = {}",
            'x = {name}["{noun}"]["{noun}"] or {int}',
        ),
    },
)
PROGRAMS = TextSource(
    name="compiled programs and logs",
    words={**TEST_WORDS, "name": _NAMES_TEST, "op": ("+", "-", "*", "/", "^", ">>", "|", "&&")},
    templates={
        "open": (
            "public static int {name}(final long {name}) {",
            "for (size_t i = {digit}; i < {name}.size(); ++i) {",
            "switch ({name} & 0x{hex}) {",
            "} else if ({name} == null || !{name}) {",
            "fn {name}<T>({name}: &mut Vec<T>) -> Option<u{int}> {",
            "const {name} = async ({name}, {name}) => {",
        ),
        "body": (
            "std::vector<{noun|cap}> {name}({int}, {decimal}f);",
            "let mut {name} = {name}.iter().map(|x| x {op} {int});",
            "{name}->{name}[{digit}] = ({name} {op} {int}) ? {int} : -{int};",
            'printf("%s=%d; %.{digit}lf\\n", {name}, {int});',
            "// {verb} {noun|plural} @see #{int}",
            "[{time}] WARN {noun}.{noun} - {verb|past} {int}ms (0x{hex})",
            "import { {name}, {name} } from './{noun}.js';",
            "#define {noun|upper}_{noun|upper} ({int}u {op} {digit})",
            "if (!{name}?.{name}) return `${{name}}/{noun}`;",
            '"{noun}": {"{noun}": [{int}, {decimal}], "id": "{hex}"},',
            "int *{name} = &{name}[{int}]; /* {adjective} */",
            "curl -X POST https://{noun}.dev:{int}/v{digit}?{noun}={hex}",
            "{name} ??= await {name}({'{noun}': !0, {name}});",
            'git commit -m "{verb|cap} {noun} (#{int})" --{verb}',
        ),
    },
)


def page(rng: random.Random, source: TextSource, count: int) -> list[TextLine]:
    """Return `count` lines of code; blocks are indented by two or four characters."""
    step = rng.choice((2, 4))
    lines: list[TextLine] = []
    depth = 0
    while len(lines) < count:
        lines.append(_line(rng, source, "open", depth * step))
        for _ in range(rng.randrange(1, 4)):
            lines.append(_line(rng, source, "body", (depth + 1) * step))
        depth = (depth + 1) % 3
    return lines[:count]


def _line(rng: random.Random, source: TextSource, kind: str, indent: int) -> TextLine:
    """Return a line that fits a column of LONGEST characters."""
    while True:
        text = source.write(rng, kind)
        if len(text) <= LONGEST:
            return TextLine((text,), indent=indent)
