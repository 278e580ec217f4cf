"use strict";
// The theme's button, and the tables: their rows are made of the data at the page's end, sorted and filtered as they were
// written. Nothing is worked out here. The page holds the first rows; a reader can ask for all.

function startTheme() {
  const button = document.getElementById("theme");
  const show = () => {
    button.textContent = zoo.theme() === "dark" ? "Light theme" : "Dark theme";
  };
  button.addEventListener("click", () => zoo.setTheme(zoo.theme() === "dark" ? "light" : "dark"));
  addEventListener("zoo-theme", show);
  show();
}

// Numbers in a name by their size. A collator takes ten times as long, half a second for 10,000 names.
const keyOf = (text) => text.toLowerCase().replace(/\d+/g, (digits) => digits.padStart(12, "0"));
const element = (tag, text = "", kind = "", more = {}) => Object.assign(document.createElement(tag), { textContent: text, className: kind, ...more });
const grouped = (number) => number.toLocaleString("en");
const view = { sorts: {}, whole: new Set(), tables: 0, only: "" }; // by a table's id, so that a refreshed page looks as the old one

// [value, text, more], what follows from the rest left out
const cellOf = (cell) => {
  if (!Array.isArray(cell)) return { text: cell, more: {} };
  return { value: cell[0] ?? undefined, text: cell[1] ?? cell[0], more: cell[2] || {} };
};

// As the macro "cell" of boards.html.
function makeCell(head, content, data, model) {
  const { value, text, more } = cellOf(content);
  const cell = element(head.key === "model" ? "th" : "td", "", [head.kind, head.view && `view-${head.view}`, more.kind].filter(Boolean).join(" "));
  if (head.key === "model") cell.scope = "row";
  cell.dataset.key = head.key;
  if (value !== undefined) cell.dataset.value = value;
  if (more.page) cell.append(element("a", text, "", { href: `runs/${more.page}.html` }));
  else if (more.spread) {
    const figure = element("span", text, "value");
    figure.append(...[...(more.marks || "")].map((mark) => element("abbr", mark, "", { title: data.hints[mark] })));
    cell.append(figure, " ", element("span", more.spread, "spread"));
  } else cell.append(text);
  if (more.elsewhere) cell.append(element("abbr", "+", "", { title: data.elsewhere }));
  if (more.label !== undefined) cell.append(element("span", more.label, "label"));
  if (more.band) {
    const band = element("span", "", "band", { ariaHidden: "true" });
    ["low", "mean", "high"].forEach((end, place) => band.style.setProperty(`--${end}`, more.band[place]));
    cell.append(band);
  }
  cell.append(...(more.bad || []).map((words) => element("span", words, "bad")));
  cell.append(...(more.seeds || []).map(([seed, page]) => element("a", seed, "", { href: `runs/${page}.html`, ariaLabel: `${model} seed ${seed}` })), more.rest || "");
  if (more.share) {
    const bar = element("span", "", "bar", { ariaHidden: "true" });
    bar.style.setProperty("--share", more.share);
    cell.append(bar);
  }
  return cell;
}

function startBoards() {
  const source = document.getElementById("boards");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const place = document.getElementById("tables");
  const form = document.getElementById("filters");
  const boards = data.boards.map((board) => {
    const heads = data.heads[board.heads];
    const name = [board.dataset, board.apart].filter(Boolean).join(", ");
    const rows = board.rows.map((cells, number) => {
      const [model, norm] = cells.map(cellOf);
      return { cells, model: model.text, norm: norm.text, architecture: board.architectures[number], text: `${model.text} ${model.more.label} ${norm.text} ${name} ${board.recipe}`.toLowerCase() };
    });
    return { ...board, heads, name, rows, order: rows };
  });
  const all = boards.reduce((sum, board) => sum + board.rows.length, 0);

  function sort(board) {
    if (!view.sorts[board.id]) return;
    const [key, ascending] = view.sorts[board.id];
    const column = board.heads.findIndex((head) => head.key === key);
    if (column < 0) return;
    const rows = board.rows.map((row) => [row, cellOf(row.cells[column]).value])
      .map(([row, value]) => [row, typeof value === "string" ? keyOf(value) : value]);
    rows.sort(([, a], [, b]) => {
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined); // missing: always last
      const order = a < b ? -1 : Number(a > b);
      return ascending ? order : -order;
    });
    board.order = rows.map(([row]) => row);
  }

  function sectionOf(board) {
    if (board.section) return board.section;
    board.section = document.getElementById(board.id);
    if (board.section) return board.section;
    const section = document.getElementById("board").content.firstElementChild.cloneNode(true);
    section.id = board.id;
    Object.assign(section.dataset, { dataset: board.dataset, recipe: board.recipe });
    section.querySelector("h2").replaceChildren(`${board.name} `, element("span", board.recipe, "light"));
    section.querySelector("h2").id = `${board.id}-title`;
    for (const part of [section, section.querySelector(".scroll")]) part.setAttribute("aria-labelledby", `${board.id}-title`);
    section.querySelector(".facts").textContent = board.facts;
    section.querySelector("thead tr").append(...board.heads.map((head) => {
      const cell = element("th", "", [head.kind, head.view && `view-${head.view}`].filter(Boolean).join(" "), { scope: "col", title: head.hint });
      cell.dataset.key = head.key;
      cell.append(element("button", head.title, "sort", { type: "button" }));
      return cell;
    }));
    section.querySelector(".notes").append(...board.notes.map((note) => element("p", note, "note")));
    return (board.section = section);
  }

  function fill(board, hits, count) {
    const section = sectionOf(board);
    for (const row of hits.slice(0, count)) {
      if (row.element) continue;
      row.element = document.createElement("tr");
      row.element.append(...row.cells.map((cell, column) => makeCell(board.heads[column], cell, data, row.model)));
    }
    section.querySelector("tbody").replaceChildren(...hits.slice(0, count).map((row) => row.element));
    const [key, ascending] = view.sorts[board.id] || [];
    for (const head of section.querySelectorAll("thead th")) {
      if (head.dataset.key === key) head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    }
    offer(board, hits.length, count);
  }

  // The button below a table that holds more rows than are shown.
  function offer(board, hits, count) {
    const more = sectionOf(board).querySelector(".more");
    more.hidden = hits <= count;
    more.textContent = `The first ${grouped(count)} of ${grouped(hits)} rows. `;
    more.append(element("button", `Show all ${grouped(hits)}`, "quiet whole", { type: "button" }));
  }

  function shares(counts) {
    let left = data.most.rows;
    const shown = counts.map(() => 0);
    counts.map((count, number) => [count, number]).sort(([a], [b]) => a - b).forEach(([count, number], done) => {
      shown[number] = Math.min(count, Math.max(data.most.fewest, Math.floor(left / (counts.length - done))));
      left -= shown[number];
    });
    return shown;
  }

  function hitsOf(board, wanted, text) {
    if ((view.only && view.only !== board.id) || (wanted.dataset && wanted.dataset !== `=${board.dataset}`)
      || (wanted.recipe && wanted.recipe !== `=${board.recipe}`)) return [];
    return board.order.filter((row) => (!wanted.norm || wanted.norm === `=${row.norm}`)
      && (!wanted.architecture || wanted.architecture === `=${row.architecture}`) && (!text || row.text.includes(text)));
  }

  const wishes = () => (form ? Object.fromEntries(new FormData(form)) : {});
  const hit = () => {
    const wanted = wishes(), text = (wanted.text || "").trim().toLowerCase();
    return boards.map((board) => [board, hitsOf(board, wanted, text)]).filter(([, hits]) => hits.length);
  };
  const columns = (section) => { section.querySelector("table").dataset.view = wishes().view || ""; };

  function show() {
    const hits = hit();
    const open = hits.slice(0, data.most.tables + view.tables);
    const counts = shares(open.slice(0, data.most.tables).map(([, rows]) => rows.length));
    open.forEach(([board, rows], number) => fill(board, rows, view.whole.has(board.id) ? rows.length : Math.min(rows.length, counts[number] ?? data.most.fewest)));
    place.replaceChildren(...open.map(([board]) => board.section));
    open.forEach(([board]) => columns(board.section));
    const sum = hits.reduce((total, [, rows]) => total + rows.length, 0);
    const count = document.getElementById("count");
    if (count) count.textContent = sum === all ? "" : `${grouped(sum)} of ${grouped(all)} rows match.`;
    rest(hits.length, open.length);
  }

  function rest(hits, open) {
    const more = document.getElementById("rest");
    more.hidden = hits <= open;
    more.textContent = `The first ${grouped(open)} of ${grouped(hits)} tables; the search finds the others. `;
    more.append(element("button", `Show ${Math.min(data.most.tables, hits - open)} more`, "quiet", { type: "button" }));
  }

  // A table that is not in the page is shown alone.
  function goTo(id) {
    const board = boards.find((other) => other.id === id);
    if (!board || place.contains(board.section || document.getElementById(id))) return;
    form?.reset();
    view.only = id;
    show();
    board.section.scrollIntoView();
  }

  place.addEventListener("click", (event) => {
    const board = boards.find((other) => other.id === event.target.closest("section")?.id);
    const head = event.target.closest("button.sort")?.closest("th");
    if (head) {
      const now = head.getAttribute("aria-sort");
      view.sorts[board.id] = [head.dataset.key, now ? now === "descending" : board.heads.find((other) => other.key === head.dataset.key).first === "ascending"];
      sort(board);
      const rows = hitsOf(board, wishes(), (wishes().text || "").trim().toLowerCase());
      fill(board, rows, Math.min(rows.length, sectionOf(board).querySelector("tbody").rows.length));
    } else if (event.target.closest("button.whole")) {
      view.whole.add(board.id);
      show();
    }
  });
  document.getElementById("rest").addEventListener("click", (event) => {
    if (!event.target.closest("button")) return;
    view.tables += data.most.tables;
    show();
  });
  if (form) {
    form.addEventListener("input", show);
    form.addEventListener("change", show); // some browsers tell no input of a select
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => { view.only = ""; setTimeout(show); });
  }
  const listed = document.getElementById("listed");
  if (listed) {
    const button = element("button", `List all ${grouped(boards.length)}`, "quiet", { type: "button" });
    button.addEventListener("click", () => {
      listed.previousElementSibling.replaceChildren(...boards.map((board) => {
        const line = document.createElement("li");
        const link = element("a", `${board.name} `, "", { href: `#${board.id}` });
        link.append(element("span", board.recipe, "light"));
        line.append(link);
        return line;
      }));
      listed.hidden = true;
    });
    listed.append(" ", button);
  }
  addEventListener("hashchange", () => goTo(location.hash.slice(1)), { signal: zoo.life.signal });
  boards.forEach(sort);
  const changed = Object.keys(view.sorts).length || view.whole.size || view.tables || view.only;
  const chosen = form && [...form.elements].some((field) => field.value && field.value !== "summary");
  if (changed || chosen) show();
  else {
    const open = boards.slice(0, data.most.tables);
    open.forEach((board) => offer(board, board.rows.length, sectionOf(board).querySelector("tbody").rows.length));
    rest(boards.length, open.length);
  }
  if (!view.only) goTo(location.hash.slice(1));
}

// Titles stay in sight below the filters while the rows of their table go by.
function startTitles() {
  const stick = () => {
    const top = document.getElementById("filters")?.getBoundingClientRect().bottom ?? 0;
    for (const head of document.querySelectorAll("table.sortable thead")) {
      const table = head.parentElement.getBoundingClientRect();
      const down = Math.min(top - table.top, table.height - 2 * head.offsetHeight);
      head.style.transform = down > 0 ? `translateY(${down}px)` : "";
    }
  };
  for (const event of ["scroll", "resize"]) addEventListener(event, stick, { passive: true, signal: zoo.life.signal });
  stick();
}

zoo.started.push(startBoards, startTitles);
zoo.start = () => {
  zoo.life?.abort(); // what listens to the window for the old content
  zoo.life = new AbortController();
  zoo.started.forEach((start) => start());
};
startTheme();
zoo.start();
