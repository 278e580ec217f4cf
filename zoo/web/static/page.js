"use strict";
// The theme's button, hints, the address, and the tables: their rows are made of the data at the page's end, sorted and
// filtered as they were written. Nothing is worked out here. The page holds the first rows; a reader can ask for all.

function startTheme() {
  const button = document.getElementById("theme");
  const show = () => {
    button.textContent = zoo.theme() === "dark" ? "Light theme" : "Dark theme";
  };
  button.addEventListener("click", () => zoo.setTheme(zoo.theme() === "dark" ? "light" : "dark"));
  addEventListener("zoo-theme", show);
  show();
}

// What a reader chooses stands in the address: a copied link shows the same, and "back" undoes a choice. What is chosen
// by one field again and again, as letters are typed, is one step. In a frame the address may not be changed.
zoo.address = {
  step: null,
  shown: location.search,
  read() {
    zoo.address.step = null;
    return new URLSearchParams(location.search);
  },
  write(wishes, step = null) {
    const address = new URL(location);
    address.search = new URLSearchParams(wishes);
    address.hash = "";
    if (address.href === location.href) return;
    try { history[step && step === zoo.address.step ? "replaceState" : "pushState"](null, "", address); } catch { /* as it was */ }
    zoo.address.step = step;
    zoo.address.shown = location.search;
  },
  // `show` is called where the address goes back or forth to another choice; an anchor is none.
  follow(show) {
    addEventListener("popstate", () => {
      if (zoo.address.shown !== location.search) show();
      zoo.address.shown = location.search;
    }, { signal: zoo.life.signal });
  },
  set(field, value) {
    field.value = value ?? "";
    if (field.options && field.selectedIndex < 0) field.selectedIndex = 0; // a choice that is gone
  },
};

// A hint stands beside its button while that has the pointer or the focus, or was touched. Escape hides it.
function startHints() {
  const hint = element("div", "", "", { id: "hint", role: "tooltip", hidden: true });
  let owner = null;
  const hide = () => {
    owner?.removeAttribute("aria-describedby");
    owner = null;
    hint.hidden = true;
  };
  const place = () => {
    if (!owner) return;
    if (!owner.isConnected) { hide(); return; }
    const { left, top, bottom } = owner.getBoundingClientRect();
    hint.style.left = `${Math.max(8, Math.min(left, document.documentElement.clientWidth - hint.offsetWidth - 8))}px`;
    hint.style.top = `${top > hint.offsetHeight + 8 ? top - hint.offsetHeight - 4 : bottom + 4}px`;
  };
  const show = ({ target }) => {
    const next = target.closest?.("[data-hint]");
    if (!next || next === owner) return;
    hide();
    owner = next;
    hint.textContent = next.dataset.hint;
    hint.hidden = false;
    owner.setAttribute("aria-describedby", "hint");
    place();
  };
  const within = (part) => part && (hint.contains(part) || owner?.contains(part));
  document.querySelector("footer").append(hint);
  for (const event of ["pointerover", "focusin", "click"]) document.addEventListener(event, show);
  document.addEventListener("pointerout", (event) => { if (event.pointerType !== "touch" && within(event.target) && !within(event.relatedTarget)) hide(); });
  document.addEventListener("focusout", (event) => { if (within(event.target)) hide(); });
  document.addEventListener("pointerdown", (event) => { if (!within(event.target)) hide(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  for (const event of ["scroll", "resize"]) addEventListener(event, place, { passive: true, capture: true });
}

// Numbers in a name by their size. A collator takes ten times as long, half a second for 10,000 names.
const keyOf = (text) => text.toLowerCase().replace(/\d+/g, (digits) => digits.padStart(12, "0"));
const element = (tag, text = "", kind = "", more = {}) => Object.assign(document.createElement(tag), { textContent: text, className: kind, ...more });
const grouped = (number) => number.toLocaleString("en");
const view = { sorts: {}, whole: new Set(), tables: 0, only: "" }; // sorts and whole tables by a table's id
const hinted = (button, hint) => {
  if (hint) button.dataset.hint = hint;
  return button;
};
const mark = (text, hint) => hinted(element("button", text, "mark", { type: "button" }), hint);

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
    figure.append(...[...(more.marks || "")].map((sign) => mark(sign, data.hints[sign])));
    cell.append(figure, " ", element("span", more.spread, "spread"));
  } else cell.append(text);
  if (more.elsewhere) cell.append(mark("+", data.elsewhere));
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
    board.order = board.rows;
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
      const cell = element("th", "", [head.kind, head.view && `view-${head.view}`].filter(Boolean).join(" "), { scope: "col" });
      cell.dataset.key = head.key;
      cell.append(hinted(element("button", head.title, "sort", { type: "button" }), head.hint));
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
    [...(form?.elements ?? [])].forEach((field) => zoo.address.set(field));
    view.only = id;
    show();
    board.section.scrollIntoView();
  }

  const fields = () => [...(form?.elements ?? [])].filter((field) => field.name);
  const keep = (step) => zoo.address.write([
    ...fields().filter((field) => field.value && field.value !== field.options?.[0].value).map((field) => [field.name, field.value]),
    ...Object.entries(view.sorts).map(([id, [key, ascending]]) => ["sort", `${id}:${key}:${ascending ? "ascending" : "descending"}`]),
    ...[...view.whole].map((id) => ["whole", id]),
    ...(view.tables ? [["tables", view.tables]] : []), ...(view.only ? [["only", view.only]] : []),
  ], step);
  // Whether the address holds more than the page as it was written.
  function recall() {
    const wishes = zoo.address.read();
    fields().forEach((field) => zoo.address.set(field, wishes.get(field.name)));
    view.sorts = Object.fromEntries(wishes.getAll("sort").map((text) => text.split(":")).map(([id, key, way]) => [id, [key, way === "ascending"]]));
    view.whole = new Set(wishes.getAll("whole"));
    view.tables = Number(wishes.get("tables")) || 0;
    view.only = boards.some((board) => board.id === wishes.get("only")) ? wishes.get("only") : "";
    boards.forEach(sort);
    return wishes.size > 0;
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
      keep();
    } else if (event.target.closest("button.whole")) {
      view.whole.add(board.id);
      show();
      keep();
    }
  });
  document.getElementById("rest").addEventListener("click", (event) => {
    if (!event.target.closest("button")) return;
    view.tables += data.most.tables;
    show();
    keep();
  });
  if (form) {
    const changed = ({ target }) => { show(); keep(target.type === "search" ? target.name : null); };
    form.addEventListener("input", changed);
    // Some browsers report no input of a select. A search that is left has nothing new: a table that were made anew as a
    // reader presses on it would lose the click.
    form.addEventListener("change", (event) => { if (event.target.type !== "search") changed(event); });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => { view.only = ""; setTimeout(() => { show(); keep(); }); });
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
  zoo.address.follow(() => { recall(); show(); });
  if (recall()) show();
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
startHints();
zoo.start();
