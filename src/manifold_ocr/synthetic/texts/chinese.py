"""Simplified Chinese: articles, notices, tables of figures."""

import random

from manifold_ocr.synthetic.grammar import TextSource
from manifold_ocr.synthetic.texts.base import TextLine, vocabulary

NO_LINE_START = "，。、；：？！）》”%"


ARTICLES = TextSource(
    name="articles of a city newspaper",
    words=vocabulary("chinese_train.txt"),
    templates={
        "heading": (
            "关于{v}{n}{n}的通知",
            "{place}市{n}{n}报告（{year}年）",
            "第{int}章 {a}的{n}",
            "{n}与{n}：{v}{n}",
        ),
        "sentence": (
            "{year}年{month_number}月，{place}市{n}{v}了{a}的{n}。",
            "我们应该{v}{n}，{v}{n}，才能{v}{a}的{n}。",
            "{surname}{given}认为，{n}和{n}都是{a}的{n}。",
            "这个{n}的{n}比去年{v}了{percent}，达到{decimal}{unit}。",
            "为什么{n}不能{v}{n}？因为{n}很{a}。",
            "在{n}方面，{n}已经{v}{n}，但是{n}仍然不够{a}。",
            "据{n}{v}，全市共有{big}{unit}{n}。",
            "“{a}的{n}可以{v}{n}”，{surname}{n}这样{v}。",
            "{n}、{n}、{n}等{small}项{n}由{n}{v}。",
            "随着{n}的{v}，{n}越来越{a}；{n}也在{v}。",
            "只有{v}{n}，{n}才会{a}！",
        ),
        "row": (
            "{n}：{amount}{unit}",
            "电话：{phone}",
            "编号 {code} {n}",
            "{date} {place}",
        ),
    },
)
HANDBOOKS = TextSource(
    name="handbooks and household notices",
    words=vocabulary("chinese_test.txt"),
    templates={
        "heading": (
            "{n}使用须知",
            "{place}{n}{v}办法",
            "附录{digit} {n}与{n}一览",
            "《{a}的{n}》目录",
        ),
        "sentence": (
            "如果{n}出现{n}，请立即{v}{n}并{v}{n}。",
            "从{place}到{place}大约{int}{unit}，沿途可以{v}{n}。",
            "小{surname}把{a}的{n}放在{n}旁边，然后{v}{n}。",
            "本品含有{n}（{percent}）、{n}（{percent}）和{n}。",
            "每{small}天{v}一次{n}，每次不少于{int}{unit}。",
            "{surname}{given}同志于{year}年{month_number}月{day}日{v}{n}。",
            "虽然{n}{a}，可是{n}却十分{a}。",
            "请勿{v}{n}！{n}属于{a}物品。",
            "{n}分为{digit}类：{n}、{n}以及其他{n}。",
            "昨天{n}里的{n}既{a}又{a}，真让人{v}。",
            "您是否{v}过{n}？请在表{digit}中{v}。",
        ),
        "row": (
            "{n}（{unit}） {decimal}",
            "联系人：{surname}{given} {phone}",
            "货号{code}：{n}",
            "{time} {n}{v}",
        ),
    },
)


def wrap(text: str, width: int) -> list[str]:
    """Return lines of `width` characters; closing punctuation never opens a line.

    A last line of up to three characters joins the line before it, as in `lines.wrap`.
    """
    lines = [""]
    for char in text:
        if len(lines[-1]) >= width and char not in NO_LINE_START:
            lines.append("")
        lines[-1] += char
    if len(lines) > 1 and len(lines[-1]) <= 3:
        lines[-2:] = [lines[-2] + lines[-1]]
    return [line.strip() for line in lines if line.strip()]


def page(rng: random.Random, source: TextSource, count: int) -> list[TextLine]:
    """Return about `count` lines: a heading, paragraphs, now and then a row of figures."""
    width = rng.randrange(14, 24)
    lines = [TextLine((source.write(rng, "heading"),), style="heading")]
    while len(lines) < count:
        if rng.random() < 0.25:
            lines.append(TextLine((source.write(rng, "row"),)))
            continue
        text = "".join(source.write(rng, "sentence") for _ in range(rng.randrange(1, 4)))
        lines += [
            TextLine((line,), indent=2 if i == 0 else 0) for i, line in enumerate(wrap(text, width))
        ]
    return lines[:count]
