// Attention maps: small grids of numbers, drawn smoothly in the colours of magma.

import { magma } from "./colours.js";

/** Bilinear value of a grid at (u, v) in [0, 1], cells seen as points at their centres. */
function sample(grid, u, v) {
  const rows = grid.length;
  const columns = grid[0].length;
  const y = Math.min(Math.max(v * rows - 0.5, 0), rows - 1);
  const x = Math.min(Math.max(u * columns - 0.5, 0), columns - 1);
  const top = Math.floor(y);
  const left = Math.floor(x);
  const below = Math.min(top + 1, rows - 1);
  const right = Math.min(left + 1, columns - 1);
  const high = grid[top][left] + (grid[top][right] - grid[top][left]) * (x - left);
  const low = grid[below][left] + (grid[below][right] - grid[below][left]) * (x - left);
  return high + (low - high) * (y - top);
}

/** Draw a grid of values in [0, 1] over the whole canvas. */
export function drawMap(canvas, grid) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  const image = context.createImageData(width, height);
  for (let row = 0, at = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1, at += 4) {
      const value = sample(grid, (column + 0.5) / width, (row + 0.5) / height);
      image.data.set(magma(value), at);
      image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}
