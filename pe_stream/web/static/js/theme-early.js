// A classic script, so that it runs before anything is drawn: no flash of the wrong theme.
{
  let theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  try {
    const kept = localStorage.getItem("pe_stream.theme");
    if (kept === "light" || kept === "dark") theme = kept;
  } catch {
    // Storage may be forbidden; the system's preference then holds.
  }
  document.documentElement.dataset.theme = theme;
}
