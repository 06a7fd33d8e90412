// Where the lab is: behind a proxy it may be below a path, as this file then is.
const root = new URL("..", import.meta.url).pathname.replace(/\/$/, "");

/** An address of the lab, given by its path: `/api/live`. */
export const at = (path) => root + path;
