// Where the lab is: behind a proxy it may be below a path, as this file then is.
const root = new URL("..", import.meta.url).pathname.replace(/\/$/, "");

/** An address of the lab, given by its path: `/api/live`. */
export const at = (path) => root + path;

/** Headers which show that a change comes from a page that was made for this browser. */
export const proof = () => {
  const shown = document.querySelector('meta[name="csrf"]');
  return shown ? { "X-CSRF-Token": shown.content } : {};
};
