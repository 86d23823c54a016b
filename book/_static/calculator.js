// The calculator of the page on costs: the table's numbers follow the form. All rates are measured
// and stand in the page.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("calculator");
  if (!form) return;
  const cells = [...document.querySelectorAll("#calculated tbody tr")].map(
    (row) => [...row.querySelectorAll("td")]);
  const gain = document.getElementById("gain");
  const caption = document.querySelector("#calculated caption");
  const number = (value) => (value === null || !Number.isFinite(value) ? "–"
    : value >= 10 ? Math.round(Number(value.toPrecision(2))).toLocaleString("en-US")
      : value > 0 && value < 0.05 ? value.toPrecision(2) : value.toFixed(1));
  const { slower } = form.dataset;
  const show = () => {
    const field = (name) => Math.max(0, Number(form.elements[name].value));
    const [share, clip, pace] = form.elements.kind.value.split(" ");
    const now = field("amount") * (form.elements.unit.value === "TB" ? 1 : clip / 1e12);
    const same = Number(share) === 1, then = now * share;
    const hours = (size) => size * 8e6 / field("link") / 3600;
    const rows = [
      [now, then], [now * field("price"), then * field("price")], [hours(now), hours(then)],
      [field("hours"), field("hours") * (same ? 1 : slower)],
      [null, same || !Number(pace) ? null : now * 1e12 * pace / 3600],
    ];
    rows.forEach((row, place) => row.forEach((value, side) => {
      cells[place][side].textContent = number(value);
    }));
    gain.hidden = !same;
    const kind = form.elements.kind.selectedOptions[0].textContent;
    caption.textContent = `For ${field("amount")} ${form.elements.unit.value} of ${kind}, ${
      field("price")} a TB and month, a link of ${field("link")} Mbit/s and ${
      field("hours")} hours of decoding.`;
  };
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
});
