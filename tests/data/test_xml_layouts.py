"""PAGE-XML and ALTO as Transkribus, eScriptorium, OCR-D, LAREX and scanners write them.

The rules are those of the schemas. Texts and boxes marked KRAKEN and PAGEXML are what kraken
7.1.1 (`XMLPage(path).lines`) and pagexml-tools 0.9.0 (`parse_pagexml_file(path).get_lines()`)
give for the same files; where we differ on purpose, the test says why.
"""

import pytest
from corpora import image, read, reasons, texts, write

PAGE_NS = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
ALTO_NS = "http://www.loc.gov/standards/alto/ns-v4#"


def line(name, y, text=None, inner="", custom=""):
    equivalent = "" if text is None else f"<TextEquiv><Unicode>{text}</Unicode></TextEquiv>"
    points = f"10,{y} 110,{y} 110,{y + 20} 10,{y + 20}"
    return (
        f'<TextLine id="{name}" custom="{custom}"><Coords points="{points}"/>'
        f'<Baseline points="10,{y + 15} 110,{y + 15}"/>{inner}{equivalent}</TextLine>'
    )


def region(name, inner, tag="TextRegion", more=""):
    coords = '<Coords points="0,0 120,0 120,400 0,400"/>'
    return f'<{tag} id="{name}" {more}>{coords}{inner}</{tag}>'


def page(body, order="", name="p.png", size=(120, 400), head=""):
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{head}<PcGts xmlns="{PAGE_NS}"><Page '
        f'imageFilename="{name}" imageWidth="{size[0]}" imageHeight="{size[1]}">'
        f"{order}{body}</Page></PcGts>"
    )


def alto_line(name, y, inner, place=None):
    stated = f'HPOS="10" VPOS="{y}" WIDTH="100" HEIGHT="20"' if place is None else place
    return f'<TextLine ID="{name}" {stated}>{inner}</TextLine>'


def alto(body, order="", unit="pixel", size='WIDTH="120" HEIGHT="400"', pages=1):
    page = "".join(f'<Page ID="pg{i}" {size}><PrintSpace>{body}</PrintSpace></Page>'
                   for i in range(pages))  # fmt: skip
    return (
        f'<alto xmlns="{ALTO_NS}"><Description><MeasurementUnit>{unit}</MeasurementUnit>'
        "<sourceImageInformation><fileName>p.png</fileName></sourceImageInformation>"
        f"</Description>{order}<Layout>{page}</Layout></alto>"
    )


def string(text, x=10):
    return f'<String CONTENT="{text}" HPOS="{x}" VPOS="10" WIDTH="20" HEIGHT="20"/>'


@pytest.fixture
def lines(tmp_path):
    """Return a function that reads one XML file beside p.png: [(text, box)] of its lines."""
    image(tmp_path / "p.png", (120, 400))

    def of(xml):
        write(tmp_path / "p.xml", xml)
        rows, rejected = read(tmp_path)
        assert rejected == []
        return [(row.text, row.box) for row in rows if row.granularity == "line"]

    return of


ONE, TWO = ("one", (10, 10, 110, 30)), ("two", (10, 50, 110, 70))  # KRAKEN and PAGEXML


class TestPageOrder:
    def test_file_order_where_none_is_stated(self, lines):
        body = region("a", line("l1", 10, "one")) + region("b", line("l2", 50, "two"))
        assert lines(page(body)) == [ONE, TWO]

    def test_index_at_each_level_of_the_reading_order(self, lines):
        """kraken takes the references as they stand; the schema gives them an @index."""
        body = "".join(region(r, line(r, 10 + 40 * n, r)) for n, r in enumerate("abcd"))
        order = """<ReadingOrder><OrderedGroup id="g"><RegionRefIndexed index="2" regionRef="a"/>
            <OrderedGroupIndexed id="h" index="0"><RegionRefIndexed index="10" regionRef="c"/>
            <RegionRefIndexed index="9" regionRef="d"/></OrderedGroupIndexed>
            <RegionRefIndexed index="1" regionRef="b"/></OrderedGroup></ReadingOrder>"""
        assert [text for text, _ in lines(page(body, order))] == ["d", "c", "b", "a"]

    def test_unordered_groups_keep_the_order_of_the_file(self, lines):
        body = region("a", line("l1", 10, "one")) + region("b", line("l2", 50, "two"))
        order = """<ReadingOrder><UnorderedGroup id="g"><RegionRef regionRef="b"/>
            <RegionRef regionRef="a"/></UnorderedGroup></ReadingOrder>"""
        assert lines(page(body, order)) == [TWO, ONE]

    def test_transkribus_index_on_lines_and_regions(self, lines):
        rank = "readingOrder {{index:{};}} structure {{type:heading;}}".format
        first = line("x", 50, "two", custom=rank(1)) + line("y", 10, "one", custom=rank(0))
        body = region("late", line("z", 90, "z"), more=f'custom="{rank(10)}"')
        body += region("early", first, more=f'custom="{rank(9)}"')
        assert lines(page(body)) == [ONE, TWO, ("z", (10, 90, 110, 110))]

    def test_nested_regions_follow_their_parent(self, lines):
        inner = line("l1", 10, "one") + region("in", line("l2", 50, "two"))
        body = region("out", inner) + region("c", line("l3", 90, "z"))
        assert lines(page(body)) == [ONE, TWO, ("z", (10, 90, 110, 110))]

    def test_table_cells_by_row_and_column(self, lines):
        """kraken drops the lines of cells; pagexml-tools gives them in the order of the file."""
        cell = 'row="{}" col="{}"'.format
        cells = region("c", line("l3", 90, "right"), "TableCell", cell(0, 1))
        cells += region("d", line("l2", 90, "left"), "TableCell", cell(0, 0))
        body = region("a", line("l1", 10, "one")) + region("t", cells, "TableRegion")
        assert [text for text, _ in lines(page(body))] == ["one", "left", "right"]

    def test_regions_of_equal_or_no_id_are_all_kept(self, lines):
        body = "".join(region("r", line(f"l{n}", 10 + 40 * n, f"t{n}")) for n in range(2))
        body += "".join(region("", line(f"k{n}", 90 + 40 * n, f"u{n}")) for n in range(2))
        order = '<ReadingOrder><OrderedGroup id="g"><RegionRefIndexed index="0" regionRef="r"/>'
        order += "</OrderedGroup></ReadingOrder>"
        assert [text for text, _ in lines(page(body, order))] == ["t0", "t1", "u0", "u1"]


class TestPageText:
    def test_the_lowest_index_that_holds_text(self, lines):
        body = "".join(f'<TextEquiv index="{i}"><Unicode>{t}</Unicode></TextEquiv>'
                       for i, t in ((2, "c"), (1, "b"), (0, "")))  # fmt: skip
        assert lines(page(region("a", line("l", 10, inner=body)))) == [("b", (10, 10, 110, 30))]

    def test_words_where_the_line_has_no_text(self, lines):
        """kraken joins them without a space."""
        words = "".join(f"<Word><TextEquiv><Unicode>{w}</Unicode></TextEquiv></Word>" for w in "ab")
        assert lines(page(region("a", line("l", 10, inner=words))))[0][0] == "a b"

    @pytest.mark.parametrize(
        ("stated", "text"),
        [
            ("Alpha <!-- corrected -->one", "Alpha one"),
            ("<![CDATA[Bravo & two]]>", "Bravo & two"),  # PAGEXML
            ("Delta<?lb?> four", "Delta four"),  # PAGEXML
            ("Charlie\n three", "Charlie three"),
            ("A&amp;B &lt;x&gt; &#x2014;", "A&B <x> \u2014"),
            ("Wort&#xad;teil&#xad;", "Wortteil-"),
            ("\u200bzero\ufeff \u200e", "zero"),
        ],
    )
    def test_what_the_line_shows(self, lines, stated, text):
        assert lines(page(region("a", line("l", 10, stated))))[0][0] == text

    def test_an_entity_of_the_file_is_no_text(self, tmp_path):
        image(tmp_path / "p.png", (120, 400))
        image(tmp_path / "orphan.png")
        head = '<!DOCTYPE PcGts [<!ENTITY co "Company">]>'
        body = region("a", line("l1", 10, "one") + line("l2", 50, "Big &co; Ltd"))
        write(tmp_path / "p.xml", page(body, head=head))
        rows, rejected = read(tmp_path)
        assert [row.text for row in rows] == ["one"], "a page whose text is not whole is no row"
        assert reasons(rejected) == [
            ("orphan.png", "missing_label"), ("p.xml", "broken_row"), ("p.xml#l2", "broken_row"),
        ]  # fmt: skip

    def test_a_region_without_lines_gives_its_own_text(self, tmp_path):
        image(tmp_path / "p.png", (120, 400))
        equivalent = "<TextEquiv><Unicode>Alpha one\nBravo two</Unicode></TextEquiv>"
        write(tmp_path / "p.xml", page(region("a", equivalent)))
        rows, rejected = read(tmp_path)
        assert not rejected
        assert [(row.text, row.box, row.granularity) for row in rows] == [
            ("Alpha one\nBravo two", (0, 0, 120, 400), "page"),
            ("Alpha one\nBravo two", None, "page"),
        ]

    def test_lines_without_text_are_counted(self, tmp_path):
        image(tmp_path / "p.png", (120, 400))
        body = line("l1", 10, "") + line("l2", 50) + line("l3", 90, "z")
        write(tmp_path / "p.xml", page(region("a", body)))
        rows, rejected = read(tmp_path)
        assert texts(rows) == ["z"]
        assert reasons(rejected) == [("p.xml#l1", "empty_text"), ("p.xml#l2", "empty_text")]


class TestPageImages:
    BODY = region("a", line("l1", 10, "one"))

    @pytest.mark.parametrize(
        ("file", "xml", "stated"),
        [
            ("images/p.png", "xml/p.xml", "../images/p.png"),
            ("OCR-D-IMG/p.png", "OCR-D-GT-PAGE/p.xml", "OCR-D-IMG/p.png"),
            ("images/p 01.png", "page/p 01.xml", "p%2001.png"),
            ("p.png", "p.xml", "C:\\scans\\P.PNG"),
            ("p.png", "p.xml", "file:///D:/scans/p.png"),
            ("0001_p.jpg", "page/0001_p.xml", "0001_p.tif"),
            ("u\u0308.png", "x.xml", "\u00fc.png"),
        ],
    )
    def test_found_by_path_name_or_stem(self, tmp_path, file, xml, stated):
        image(tmp_path / file, (120, 400))
        write(tmp_path / xml, page(self.BODY, name=stated))
        rows, rejected = read(tmp_path)
        assert rejected == [] and rows[0].image == file and rows[0].text == "one"

    def test_the_path_goes_before_the_name_and_an_ambiguous_name_is_refused(self, tmp_path):
        for folder in "abc":
            image(tmp_path / folder / "p.png", (120, 400))
        write(tmp_path / "xml/1.xml", page(self.BODY, name="../b/p.png"))
        write(tmp_path / "xml/2.xml", page(self.BODY, name="p.png"))
        rows, rejected = read(tmp_path)
        assert {row.image for row in rows} == {"b/p.png"}
        assert ("xml/2.xml", "ambiguous_image") in reasons(rejected)

    def test_names_are_matched_inside_their_split(self, tmp_path):
        for split in ("train", "test"):
            image(tmp_path / split / "images/p.png", (120, 400))
            write(tmp_path / split / "page/p.xml", page(region("a", line("l", 10, split))))
        rows, rejected = read(tmp_path)
        assert not rejected
        assert {(row.image, row.text) for row in rows if row.box} == {
            ("train/images/p.png", "train"), ("test/images/p.png", "test"),
        }  # fmt: skip

    def test_exports_with_mets_metadata_and_alto_beside(self, tmp_path):
        image(tmp_path / "p.png", (120, 400))
        image(tmp_path / "z.png", (120, 400))
        write(tmp_path / "mets.xml", '<ns3:mets xmlns:ns3="http://www.loc.gov/METS/"/>')
        write(tmp_path / "metadata.xml", "<trpDocMetadata><docId>1</docId></trpDocMetadata>")
        write(tmp_path / "page/p.xml", page(self.BODY))
        write(tmp_path / "z.xml", alto(alto_line("l", 10, string("z"))).replace("p.png", "z.png"))
        write(tmp_path / "tei.xml", "<TEI/>")
        rows, rejected = read(tmp_path)
        assert {row.image: row.text for row in rows if row.box} == {"p.png": "one", "z.png": "z"}
        assert reasons(rejected) == [("tei.xml", "broken_row")]

    def test_coordinates_of_a_page_of_another_size_are_scaled(self, tmp_path):
        image(tmp_path / "p.png", (240, 800))
        write(tmp_path / "p.xml", page(self.BODY))
        rows, _ = read(tmp_path)
        assert rows[0].box == (20, 20, 220, 60)

    def test_a_page_of_another_shape_is_another_image(self, tmp_path):
        image(tmp_path / "p.png", (400, 120))
        write(tmp_path / "p.xml", page(self.BODY))
        rows, rejected = read(tmp_path)
        assert not rows and "120x400" in rejected[0].detail and "400x120" in rejected[0].detail

    def test_parts_see_each_file_and_each_orphan_once(self, tmp_path):
        for n in range(5):
            image(tmp_path / f"p{n}.png", (120, 400))
            write(tmp_path / f"p{n}.xml", page(self.BODY, name=f"p{n}.png"))
        image(tmp_path / "orphan.png")
        whole, shared = read(tmp_path), read(tmp_path, parts=3)
        assert sorted(map(str, whole[0])) == sorted(map(str, shared[0])) and len(whole[0]) == 10
        assert reasons(whole[1]) == reasons(shared[1]) == [("orphan.png", "missing_label")]


class TestAlto:
    @pytest.mark.parametrize(
        ("inner", "text"),
        [
            (string("Alpha") + "<SP/>" + string("one"), "Alpha one"),
            (string("no") + string("SP", 40), "no SP"),
            (string("\u4e2d") + string("\u6587", 40), "\u4e2d\u6587"),
            (string("on") + '<HYP CONTENT="\u00ad"/>', "on-"),
            (string("on") + "<HYP/>", "on-"),
            (string("Char-") + '<HYP CONTENT="-"/>', "Char-"),
            (string("a") + "<SP/>" + string("") + "<SP/>" + string("b"), "a b"),
        ],
    )
    def test_strings_spaces_and_hyphens(self, lines, inner, text):
        """kraken drops HYP, and joins strings that no SP parts."""
        assert lines(alto(alto_line("l", 10, inner))) == [(text, (10, 10, 110, 30))]

    def test_reading_order(self, lines):
        body = "".join(f'<TextBlock ID="b{y}">{alto_line("l", y, string(t))}</TextBlock>'
                       for t, y in (("one", 10), ("two", 50)))  # fmt: skip
        order = '<ReadingOrder><OrderedGroup ID="g"><ElementRef ID="e1" REF="b50"/>'
        order += '<ElementRef ID="e2" REF="b10"/></OrderedGroup></ReadingOrder>'
        assert lines(alto(body, order)) == [TWO, ONE]  # KRAKEN: reading order g

    @pytest.mark.parametrize(
        ("place", "inner"),
        [
            ('HPOS="0" VPOS="0" WIDTH="0" HEIGHT="0"',
             '<Shape><Polygon POINTS="10,10 110,10 110,30 10,30"/></Shape>' + string("one")),
            ("", '<Shape><Polygon POINTS="10 10 110 10 110 30 10 30"/></Shape>' + string("one")),
            ("", string("one") + '<String CONTENT="" HPOS="90" VPOS="12" WIDTH="20" HEIGHT="9"/>'),
        ],
    )  # fmt: skip
    def test_lines_placed_by_polygon_or_strings(self, lines, place, inner):
        assert lines(alto(alto_line("l", 10, inner, place))) == [ONE]

    @pytest.mark.parametrize(
        ("unit", "size", "dpi", "place"),
        [
            ("mm10", 'WIDTH="102" HEIGHT="339"', 300, (8.4667, 8.4667, 84.667, 16.933)),
            ("mm10", "", 300, (8.4667, 8.4667, 84.667, 16.933)),
            ("inch1200", 'WIDTH="480" HEIGHT="1600"', 0, (40, 40, 400, 80)),
            ("pixel", 'WIDTH="60" HEIGHT="200"', 0, (5, 5, 50, 10)),
        ],
    )
    def test_units_and_scaled_pages(self, tmp_path, unit, size, dpi, place):
        """10 pixels at 300 dots per inch are 0.84667 mm, and 40 of 1,200 parts of an inch."""
        image(tmp_path / "p.png", (120, 400), **({"dpi": (dpi, dpi)} if dpi else {}))
        stated = 'HPOS="{}" VPOS="{}" WIDTH="{}" HEIGHT="{}"'.format(*place)
        write(tmp_path / "p.xml", alto(alto_line("l", 0, string("x"), stated), "", unit, size))
        rows, _ = read(tmp_path)
        assert rows[0].box == pytest.approx((10, 10, 110, 30), abs=0.02)

    def test_a_unit_of_length_without_page_size_or_dpi_is_refused(self, tmp_path):
        image(tmp_path / "p.png", (120, 400))
        write(tmp_path / "p.xml", alto(alto_line("l", 10, string("x")), "", "mm10", ""))
        rows, rejected = read(tmp_path)
        assert not rows and "mm10" in rejected[0].detail

    def test_decimal_commas_are_rejected_and_counted(self, tmp_path):
        image(tmp_path / "p.png", (120, 400))
        place = 'HPOS="80,5" VPOS="100,0" WIDTH="180,0" HEIGHT="44,0"'
        body = alto_line("l1", 0, string("x"), place) + alto_line("l2", 50, string("two"))
        write(tmp_path / "p.xml", alto(body))
        rows, rejected = read(tmp_path)
        assert texts(rows) == ["two"] and "80,5" in rejected[0].detail

    def test_pages_of_one_file_are_frames_of_its_image(self, tmp_path):
        from PIL import Image

        sheets = [Image.new("L", (120, 400), 255) for _ in range(2)]
        sheets[0].save(tmp_path / "p.tif", save_all=True, append_images=sheets[1:])
        body = alto(alto_line("l", 10, string("one")), pages=2)
        write(tmp_path / "p.xml", body.replace("p.png", "p.tif"))
        rows, rejected = read(tmp_path)
        assert not rejected
        assert [(row.frame, row.text) for row in rows] == [(0, "one")] * 2 + [(1, "one")] * 2
