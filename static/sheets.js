// Sheets of a live attack: decoded once, coloured once, then any moment is a part of a picture.
import { diverging, magma } from "./colours.js";

function blank(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

/** The pixels of a PNG in base64, as ImageData. */
async function pixels(base64) {
  const image = new Image();
  image.src = `data:image/png;base64,${base64}`;
  await image.decode();
  const context = blank(image.naturalWidth, image.naturalHeight).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.naturalWidth, image.naturalHeight);
}

/** A canvas of `width` by `height` whose pixel (x, y) has the colour `colour(x, y)`, [r, g, b]. */
function painted(width, height, colour) {
  const canvas = blank(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 4) {
      image.data.set(colour(x, y), at);
      image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** A picture of equal tiles. */
class Tiles {
  constructor(canvas, width, height) {
    Object.assign(this, { canvas, width, height, one: blank(width, height) });
  }

  /** Draw one tile over the whole of another canvas. */
  draw(target, row, column, smooth) {
    const context = target.getContext("2d");
    const { canvas, width, height, one } = this;
    context.imageSmoothingEnabled = smooth;
    if (!smooth) {
      context.drawImage(canvas, column * width, row * height, width, height, 0, 0, target.width, target.height);
      return;
    }
    // By itself first: what is smoothed would take in the neighbours.
    one.getContext("2d").drawImage(canvas, column * width, row * height, width, height, 0, 0, width, height);
    context.drawImage(one, 0, 0, target.width, target.height);
  }
}

/** Attention maps as numbers; coloured when somebody looks. */
class Maps {
  constructor(image, sheet) {
    this.image = image;
    Object.assign(this, { width: sheet.width, height: sheet.height });
  }

  /** In [0, 1]. */
  value(x, y) {
    return this.image.data[4 * (y * this.image.width + x)] / 255;
  }

  /** The map of the first tile, which is of the clean image, at the place of (x, y) in its tile. */
  clean(x, y) {
    return this.value(x % this.width, y % this.height);
  }

  get coloured() {
    this.inMagma ??= this.tiles((x, y) => magma(this.value(x, y)));
    return this.inMagma;
  }

  /** Each map minus that of the clean image; the largest difference has the full colour. */
  get shift() {
    this.differences ??= this.tiles((x, y) => diverging((this.value(x, y) - this.clean(x, y)) / this.range));
    return this.differences;
  }

  /** The largest difference from the map of the clean image, in [0, 1]. */
  get range() {
    if (this.largest === undefined) {
      this.largest = 1 / 255;
      for (let y = 0; y < this.image.height; y += 1) {
        for (let x = 0; x < this.image.width; x += 1) this.largest = Math.max(this.largest, Math.abs(this.value(x, y) - this.clean(x, y)));
      }
    }
    return this.largest;
  }

  tiles(colour) {
    return new Tiles(painted(this.image.width, this.image.height, colour), this.width, this.height);
  }
}

export async function maps(sheet) {
  return new Maps(await pixels(sheet.png), sheet);
}

/** Pixels that are opaque, in a canvas. */
function drawn(data, width, height) {
  const canvas = blank(width, height);
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  return canvas;
}

/** The pictures of one attack, from the clean picture and the sheet of changes; drawn when somebody looks. */
class Pictures {
  constructor(clean, sheet, size, range) {
    Object.assign(this, { clean, sheet, size, range });
  }

  get shown() {
    this.whole ??= this.tiles((before, after) => after);
    return this.whole;
  }

  /** The changes: grey is none, and `range`, in grey levels, has the full colour of its channel. */
  get changes() {
    const amplified = Uint8ClampedArray.from({ length: 511 }, (_, i) => 128 + 127 * Math.min(Math.max((i - 255) / this.range, -1), 1));
    this.alone ??= this.tiles((before, after) => amplified[255 + after - before]);
    return this.alone;
  }

  /** Tiles whose channels have the values `value(before, after)`. */
  tiles(value) {
    const { clean, sheet, size } = this;
    const [width, height] = [sheet.width / 3, sheet.height];
    const data = new Uint8ClampedArray(4 * width * height).fill(255);
    for (let y = 0, from = 0, to = 0; y < height; y += 1) {
      const line = 4 * size * (y % size);
      for (let x = 0; x < width; x += 1, to += 4) {
        const at = line + 4 * (x % size);
        for (let c = 0; c < 3; c += 1, from += 4) {
          const before = clean.data[at + c];
          data[to + c] = value(before, (before + sheet.data[from] + 128) & 255);
        }
      }
    }
    return new Tiles(drawn(data, width, height), size, size);
  }

  /** How far one picture is from the clean one: at most, in grey levels, and its L2 length in units of [0, 1]. */
  change(row, column) {
    const { clean, sheet, size } = this;
    let [most, squares] = [0, 0];
    for (let y = 0; y < size; y += 1) {
      for (let x = 0; x < 3 * size; x += 1) {
        const before = clean.data[4 * (y * size + Math.floor(x / 3)) + (x % 3)];
        const grey = sheet.data[4 * ((row * size + y) * sheet.width + 3 * column * size + x)];
        const change = ((before + grey + 128) & 255) - before;
        most = Math.max(most, Math.abs(change));
        squares += change * change;
      }
    }
    return { most, length: Math.sqrt(squares) / 255 };
  }
}

export async function pictures(cleanPng, changesPng, size, range) {
  return new Pictures(...await Promise.all([pixels(cleanPng), pixels(changesPng)]), size, range);
}

/** The colours from one end to the other, for a legend. */
export function drawScale(canvas, colour) {
  const line = painted(canvas.width, 1, (x) => colour(x / (canvas.width - 1)));
  canvas.getContext("2d").drawImage(line, 0, 0, canvas.width, canvas.height);
}
