"""The two vocabularies as slots: one for train and val, one for the test split only."""

from manifold_ocr.corpora.synthetic.texts.lines import english_words
from manifold_ocr.corpora.synthetic.vocabulary import english_test, english_train

TRAIN_WORDS = english_words(
    english_train,
    companies=(
        "{surname} & {surname}",
        "{place} {noun|cap} Co.",
        "{surname} Brothers Ltd.",
        "{adjective|cap} {noun|cap} GmbH",
        "{noun|cap}{noun|cap} Inc.",
    ),
    streets=("{int} {surname} Street", "{int} {place} Road", "{int} {noun|cap} Lane"),
)
TEST_WORDS = english_words(
    english_test,
    companies=(
        "{noun|cap} of {place} plc",
        "{surname}, {surname} + Partners",
        "{place} {noun|plural|cap} LLC",
        "{surname} {noun|cap} S.A.",
        "The {adjective|cap} {noun|cap}",
    ),
    streets=("{surname} Avenue {int}", "{int}-{int} {place} Terrace", "Unit {int}, {noun|cap} Way"),
)
