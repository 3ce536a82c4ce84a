"""The rules of PAGE 2019-07-15 and ALTO 4 that our files must keep, as their schemas state them.

Both schemas were run on these exports (libxml2) and passed; what can be broken is checked here:
children in the order of the sequences, required attributes, unique ids that are NCNames,
references that lead somewhere, patterns of points. kraken 7.1.1 leaves out lines without baseline.
"""

import re
import xml.etree.ElementTree as ET

PAGE = "{http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15}"
ALTO = "{http://www.loc.gov/standards/alto/ns-v4#}"
NCNAME = re.compile(r"[A-Za-z_][\w.-]*")
POINTS = re.compile(r"([0-9]+,[0-9]+ )+([0-9]+,[0-9]+)")  # PointsType of PAGE
PAGE_ORDER = {
    "PcGts": ["Metadata", "Page"],
    "Metadata": ["Creator", "Created", "LastChange"],
    "Page": ["ReadingOrder", "TextRegion"],
    "TextRegion": ["Coords", "TextLine"],
    "TextLine": ["Coords", "Baseline", "TextEquiv"],
}
ALTO_ORDER = {
    "alto": ["Description", "Layout"],
    "Description": ["MeasurementUnit", "sourceImageInformation", "OCRProcessing"],
    "TextLine": ["Shape", "String", "SP"],
}
ALTO_REQUIRED = {
    "Page": {"ID", "PHYSICAL_IMG_NR"},
    "TextBlock": {"ID", "HPOS", "VPOS", "WIDTH", "HEIGHT"},
    "String": {"CONTENT"},
}


def _checked(text, space, order):
    root = ET.fromstring(text.encode())
    for element in root.iter():
        assert element.tag.startswith(space), element.tag
        name = element.tag.removeprefix(space)
        if name in order:
            children = [child.tag.removeprefix(space) for child in element]
            assert set(children) <= set(order[name]), (name, children)
            if name == "TextLine" and space == ALTO:
                children = ["String" if child == "SP" else child for child in children]
            places = [order[name].index(child) for child in children]
            assert places == sorted(places), (name, children)
    ids = [element.get(key) for element in root.iter() for key in ("id", "ID") if element.get(key)]
    assert len(ids) == len(set(ids)) and all(map(NCNAME.fullmatch, ids))
    return root


def checked_page(text):
    """Return the root of a PAGE file that keeps the rules."""
    root = _checked(text, PAGE, PAGE_ORDER)
    page = root.find(f"{PAGE}Page")
    width, height = int(page.get("imageWidth")), int(page.get("imageHeight"))
    assert page.get("imageFilename") and width > 0 and height > 0
    regions = {region.get("id") for region in root.iter(f"{PAGE}TextRegion")}
    assert {ref.get("regionRef") for ref in root.iter(f"{PAGE}RegionRefIndexed")} == regions
    for line in root.iter(f"{PAGE}TextLine"):
        assert line.get("id") and line.find(f"{PAGE}Baseline") is not None
    for element in root.iter():
        if (points := element.get("points")) is not None:
            assert POINTS.fullmatch(points), points
            pairs = [tuple(map(int, pair.split(","))) for pair in points.split()]
            assert all(x <= width and y <= height for x, y in pairs)
    return root


def checked_alto(text):
    """Return the root of an ALTO file that keeps the rules."""
    root = _checked(text, ALTO, ALTO_ORDER)
    for element in root.iter():
        required = ALTO_REQUIRED.get(element.tag.removeprefix(ALTO), set())
        assert required <= set(element.keys()), element.tag
        assert all(float(element.get(key, 0)) >= 0 for key in ("WIDTH", "HEIGHT"))
    for line in root.iter(f"{ALTO}TextLine"):
        assert line.find(f"{ALTO}String") is not None and line.get("BASELINE")
    assert root.find(f"{ALTO}Layout/{ALTO}Page") is not None
    return root
