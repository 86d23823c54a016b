// Paper is white: a page of the dark theme is printed in the light one.
{
  const page = document.documentElement.dataset;
  let theme;
  window.addEventListener("beforeprint", () => { [theme, page.theme] = [page.theme, "light"]; });
  window.addEventListener("afterprint", () => { page.theme = theme; });
}

// A table that is wider than the screen scrolls by keyboard too.
for (const when of ["load", "resize"]) {
  window.addEventListener(when, () => {
    for (const table of document.querySelectorAll(".pst-scrollable-table-container")) {
      if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
      else table.removeAttribute("tabindex");
    }
  });
}
