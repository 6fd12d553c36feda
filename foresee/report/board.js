// Columns of a board sort its rows: first from low to high, then from high to low, then as they were.
const DIRECTIONS = ["ascending", "descending", "none"];

function valueOf(row, column) {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : NaN;
}

// Rows without a value stay at the end, whichever way is sorted.
function compare(one, other, sign) {
  if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) - Number.isNaN(other);
  return sign * (one - other);
}

for (const table of document.querySelectorAll("table.board")) {
  const body = table.tBodies[0];
  const given = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.slice(1).forEach((head, k) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort the rows by this column";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const next = DIRECTIONS[(DIRECTIONS.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
      for (const other of heads) other.removeAttribute("aria-sort");
      const sign = { ascending: 1, descending: -1, none: 0 }[next];
      if (sign) head.setAttribute("aria-sort", next);
      const rows = [...given];
      if (sign) rows.sort((a, b) => compare(valueOf(a, k + 1), valueOf(b, k + 1), sign));
      table.classList.toggle("sorted", sign !== 0);
      body.append(...rows);
    });
  });
}
