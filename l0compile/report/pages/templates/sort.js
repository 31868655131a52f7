
// A click on a title sorts by that column: numbers by data-v, the rest by text; a second click reverses the order.
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("th").forEach((title, column) => title.addEventListener("click", () => {
    const body = table.tBodies[0], order = title.dataset.order === "1" ? -1 : 1;
    table.querySelectorAll("th").forEach(other => delete other.dataset.order);
    title.dataset.order = order;
    const key = row => { const cell = row.cells[column]; return cell.dataset.v ?? cell.textContent; };
    const compare = (a, b) => isNaN(a) || isNaN(b) ? String(a).localeCompare(b) : a - b;
    body.append(...[...body.rows].sort((a, b) => order * compare(key(a), key(b))));
  }));
}
