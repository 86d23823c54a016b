// A table that is wider than the screen scrolls by keyboard too.
for (const when of ["load", "resize"]) {
  window.addEventListener(when, () => {
    for (const table of document.querySelectorAll(".pst-scrollable-table-container")) {
      if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
      else table.removeAttribute("tabindex");
    }
  });
}
