"""How a network in an ONNX file is asked: what its file seldom says, and people do."""

from __future__ import annotations

from app.contracts.options import Option, Record


class Layout(Option):
    """The order of an image's axes behind the batch."""

    CHANNELS_FIRST = "nchw", Record(title="NCHW: channels first, as PyTorch has it")
    CHANNELS_LAST = "nhwc", Record(title="NHWC: channels last, as TensorFlow has it")


class PixelRange(Option):
    """What black and white are to the network, before anything is subtracted."""

    UNIT = "0-1", Record(title="0 to 1")
    BYTES = "0-255", Record(title="0 to 255")

    @property
    def white(self) -> float:
        """The value of a white pixel."""
        return 1.0 if self is PixelRange.UNIT else 255.0
