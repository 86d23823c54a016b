// Paper is white and cannot be unfolded: a page is printed in the light theme, all parts open.
{
  const page = document.documentElement.dataset;
  let theme, closed = [];
  window.addEventListener("beforeprint", () => {
    [theme, page.theme] = [page.theme, "light"];
    closed = [...document.querySelectorAll("article details:not([open])")];
    for (const part of closed) part.open = true;
  });
  window.addEventListener("afterprint", () => {
    page.theme = theme;
    for (const part of closed) part.open = false;
  });
}

// What is wider than the screen scrolls by keyboard too.
const WIDE = ".pst-scrollable-table-container, .themed-figure, .text_html";
for (const when of ["load", "resize"]) {
  window.addEventListener(when, () => {
    for (const part of document.querySelectorAll(WIDE)) {
      if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
      else part.removeAttribute("tabindex");
    }
  });
}
