"""The photographs that the live page offers; `static/examples/NOTICE` says where they come from."""

from __future__ import annotations

from app.web.pages.context_parts import Example

EXAMPLES = (
    Example(
        title="A cat",
        address="/static/examples/cat.jpg",
        label="cat",
        author="Stéfan van der Walt",
        source="https://scikit-image.org/docs/stable/api/skimage.data.html#skimage.data.chelsea",
        licence="CC0",
    ),
    Example(
        title="A flower",
        address="/static/examples/flower.jpg",
        label="",
        author="vultilion",
        source="https://www.flickr.com/photos/vultilion/6056698931/",
        licence="CC BY 2.0",
    ),
    Example(
        title="A temple",
        address="/static/examples/temple.jpg",
        label="",
        author="danielbuechele",
        source="https://www.flickr.com/photos/danielbuechele/6061409035/",
        licence="CC BY 2.0",
    ),
)
