"use strict";
// The theme's button, sorting and filtering. Figures are sorted as they were written: nothing is worked out here.

function startTheme() {
  const button = document.getElementById("theme");
  const show = () => {
    button.textContent = zoo.theme() === "dark" ? "Light theme" : "Dark theme";
  };
  button.addEventListener("click", () => zoo.setTheme(zoo.theme() === "dark" ? "light" : "dark"));
  addEventListener("zoo-theme", show);
  show();
}

const collator = new Intl.Collator(undefined, { numeric: true });

function sortTable(table, key, ascending) {
  const cells = (row) => row.querySelector(`[data-key="${key}"]`);
  const rows = [...table.tBodies[0].rows].map((row) => [row, cells(row).dataset.value]);
  const numbers = rows.every(([, value]) => value === undefined || (value !== "" && !Number.isNaN(Number(value))));
  rows.sort(([, a], [, b]) => {
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined); // missing: always last
    const order = numbers ? Number(a) - Number(b) : collator.compare(a, b);
    return ascending ? order : -order;
  });
  table.tBodies[0].append(...rows.map(([row]) => row));
  for (const head of table.tHead.rows[0].cells) {
    if (head.dataset.key === key) head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  }
}

const sorts = {}; // by the table's title, so that a refreshed table is sorted as the old one was

function startSorting() {
  document.querySelectorAll("table.sortable").forEach((table) => {
    const name = document.getElementById(table.closest("section").getAttribute("aria-labelledby")).textContent;
    for (const button of table.querySelectorAll("button.sort")) {
      const head = button.closest("th");
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const ascending = now ? now === "descending" : button.dataset.first === "ascending";
        sorts[name] = [head.dataset.key, ascending];
        sortTable(table, ...sorts[name]);
      });
    }
    if (sorts[name] && table.querySelector(`th[data-key="${sorts[name][0]}"]`)) sortTable(table, ...sorts[name]);
  });
}

function startFilters() {
  const form = document.getElementById("filters");
  if (!form) return;
  const apply = () => {
    const wanted = Object.fromEntries(new FormData(form));
    const text = wanted.text.trim().toLowerCase();
    let shown = 0, all = 0;
    for (const board of document.querySelectorAll("section.board")) {
      const fits = (!wanted.dataset || wanted.dataset === board.dataset.dataset)
        && (!wanted.recipe || wanted.recipe === board.dataset.recipe);
      let here = 0;
      for (const row of board.querySelector("tbody").rows) {
        const keep = fits && (!wanted.norm || wanted.norm === row.dataset.norm)
          && (!wanted.architecture || wanted.architecture === row.dataset.architecture)
          && row.dataset.text.toLowerCase().includes(text);
        row.hidden = !keep;
        here += keep;
        all += 1;
      }
      board.hidden = here === 0;
      board.querySelector("table").dataset.view = wanted.view;
      shown += here;
    }
    document.getElementById("count").textContent = shown === all ? "" : `${shown} of ${all} rows shown.`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("change", apply); // some browsers tell no input of a select
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  apply();
}

zoo.started.push(startSorting, startFilters);
zoo.start = () => {
  zoo.life?.abort(); // what listens to the window for the old content
  zoo.life = new AbortController();
  zoo.started.forEach((start) => start());
};
startTheme();
zoo.start();
