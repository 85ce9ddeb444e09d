"use strict";
// The table of slides and the slide's own view. Data come from the page itself; text is only ever
// set as text, so nothing in it can become an element.
(() => {
  const thumbnails = JSON.parse(document.getElementById("thumbnails").textContent);
  const FIRST = 25;
  const make = (tag, attributes = {}, ...inner) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
    }
    made.append(...inner.filter((one) => one !== null && one !== undefined));
    return made;
  };
  const own = (table, key) => Object.hasOwn(table, key) ? table[key] : null;  // ids may be any text
  const number = (value, digits, sign = false) =>
    value === null ? "–" : ((sign && value > 0 ? "+" : "") + value.toFixed(digits)).replace("-", "−");
  const whole = (value, digits) => number(value, Number.isInteger(value) ? 0 : digits);
  const positive = (row, value) => value > row.middle;  // of classes; their middle is null for values
  const label = (row) => row.middle !== null ? (positive(row, row.label) ? "positive" : "negative") : (row.qualifier || "").replace("~", "≈") + whole(row.label, row.digits) +
    (row.low !== null && row.low !== row.high ? ` (${whole(row.low, row.digits)}–${whole(row.high, row.digits)})` : "");
  const call = (row) => positive(row, row.mean) === positive(row, row.label) ? "✓ right" : "✗ wrong";
  const coarse = (row) => row.digits - (row.digits === 1);
  const interval = (row) => row.interval_low === null ? "–" : `${number(row.interval_low, coarse(row))} to ${number(row.interval_high, coarse(row))}`;

  // What a column is called, what it shows and by what it is sorted.
  const COLUMNS = [
    ["Slide", (row) => row.slide_id, "slide_id", ""],
    ["Error", (row) => number(row.error, row.digits, true), "size", "n"],
    ["Label", label, "label", "n"],
    ["Predicted", (row) => number(row.mean, row.digits), "mean", "n"],
    ["Called", call, "called", ""],
    ["Interval", interval, "interval_low", "n"],
    ["± bags", (row) => number(row.std, row.digits), "std", "n"],
    ["Date", (row) => row.dated || "–", "dated", ""],
    ["Quality", (row) => row.quality || "–", "quality", ""],
    ["Scanner", (row) => row.scanner || "–", "scanner", ""],
    ["Evidence", (row) => row.evidence || "–", "evidence", "quote"],
  ];

  function table(section) {
    const data = JSON.parse(section.querySelector("script").textContent);
    const rows = data.rows.map((values, i) => {
      const row = Object.fromEntries(data.fields.map((name, k) => [name, values[k]]));
      row.i = i;
      row.digits = data.digits;
      row.middle = data.middle;
      row.called = data.middle === null ? null : call(row);
      row.size = Math.abs(row.error);
      row.picture = own(data.pictures, row.slide_id);
      row.text = [row.slide_id, row.case_id, row.scanner, row.quality, row.evidence, row.specimen]
        .join(" ").toLowerCase();
      return row;
    });
    const byNumber = [...rows];
    const used = COLUMNS.filter(([, , key]) => key === "slide_id" || rows.some((row) => row[key] !== null));
    const state = { key: "size", down: true, all: false };
    const head = section.querySelector("thead"), body = section.querySelector("tbody");
    const words = section.querySelector(".search"), group = section.querySelector(".group");
    const least = section.querySelector(".smallest"), count = section.querySelector(".count");
    const more = section.querySelector(".more");
    let order = rows;

    const heads = used.map(([name, , key, css]) => {
      const button = make("button", { type: "button" }, name);
      const cell = make("th", { scope: "col", class: css }, button);
      button.addEventListener("click", () => {
        state.down = state.key === key ? !state.down : css === "n";
        state.key = key;
        draw();
      });
      return [cell, key];
    });
    head.append(make("tr", {}, ...heads.map(([cell]) => cell)));

    const compare = (a, b) => {
      const [x, y] = [a[state.key], b[state.key]];
      if (x === null || y === null) return (x === null) - (y === null) || a.i - b.i;
      const by = typeof x === "number" ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
      return (state.down ? -by : by) || a.i - b.i;
    };
    const line = (row) => {
      const made = make("tr", { class: row.picture ? "" : "bare" });
      for (const [, show, key, css] of used) {
        if (key !== "slide_id") {
          made.append(make("td", { class: css }, show(row)));
          continue;
        }
        const button = make("button", { type: "button", class: "open" }, row.slide_id);
        const small = make("span", { class: "small" });
        if (row.picture) {
          small.append(make("img", { src: thumbnails[row.picture.thumbnail].uri, alt: "", decoding: "async" }));
        }
        made.append(make("th", { scope: "row" }, make("span", { class: "cell" }, small, button)));
      }
      made.addEventListener("click", () => view.open(order.indexOf(row), order, data));
      return made;
    };
    function draw() {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      const at_least = parseFloat(least.value) || 0;
      order = rows.filter((row) => wanted.every((word) => row.text.includes(word)) &&
        row.size >= at_least &&
        (!group.value || (group.value === "picture" ? row.picture : row.group === group.value)));
      order.sort(compare);
      for (const [cell, key] of heads) {
        cell.setAttribute("aria-sort", key !== state.key ? "none" : state.down ? "descending" : "ascending");
      }
      const now = state.all ? order : order.slice(0, FIRST);
      body.replaceChildren(...now.map(line));
      const some = now.length < order.length ? `, ${now.length} shown` : "";
      count.textContent = `${order.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} slides${some}`;
      more.hidden = now.length === order.length;
      more.textContent = `Show all ${order.length.toLocaleString("en")}`;
    }
    for (const field of [words, group, least]) field.addEventListener("input", draw);
    more.addEventListener("click", () => { state.all = true; draw(); });

    const strip = section.querySelector(".strip");
    const worst = rows.filter((row) => row.picture && row.picture.overlay).sort((a, b) => b.size - a.size).slice(0, 6);
    strip.append(...worst.map((row) => {
      const made = make("button", { type: "button", class: "card", "aria-label": `Open slide ${row.slide_id}` },
        layers(row, 0.65), make("b", {}, row.slide_id),
        make("span", {}, `label ${label(row)}, predicted ${number(row.mean, coarse(row))}`),
        make("span", { class: "error" }, `${number(row.error, row.digits, true)}`));
      made.addEventListener("click", () => view.open(worst.indexOf(row), worst, data));
      return made;
    }));
    strip.hidden = worst.length === 0;
    draw();
    for (const dot of section.closest("article").querySelectorAll(".each circle[data-i]")) {
      dot.addEventListener("click", () => view.open(0, [byNumber[+dot.dataset.i]], data));
    }
  }

  // A thumbnail under its overlay.
  function layers(row, opacity) {
    const thumbnail = thumbnails[row.picture.thumbnail];
    const made = make("span", { class: "layers" },
      make("img", { src: thumbnail.uri, width: thumbnail.width, height: thumbnail.height, alt: `Thumbnail of slide ${row.slide_id}` }));
    made.style.setProperty("--ratio", thumbnail.width / thumbnail.height);
    if (row.picture.overlay) {
      const overlay = make("img", { src: row.picture.overlay, class: "overlay", alt: "" });
      overlay.style.opacity = opacity;
      made.append(overlay);
    }
    return made;
  }

  const view = (() => {
    const dialog = document.getElementById("slide");
    const find = (name) => dialog.querySelector(name);
    const [stage, facts, slider] = [find(".stage"), find(".facts"), find(".opacity input")];
    const SVG = "http://www.w3.org/2000/svg";
    let order = [], at = 0, data = null, large = false;

    function marks(picture, thumbnail) {
      const drawn = document.createElementNS(SVG, "svg");
      drawn.setAttribute("viewBox", `0 0 ${thumbnail.width} ${thumbnail.height}`);
      drawn.setAttribute("class", "marks");
      for (const [kind, boxes] of [["most", picture.most], ["least", picture.least]]) {
        for (const [left, top, right, bottom, times] of boxes) {
          for (const css of ["under", kind]) {
            const box = document.createElementNS(SVG, "rect");
            const place = { x: left + 1.5, y: top + 1.5, width: right - left - 3, height: bottom - top - 3, class: css };
            for (const [name, value] of Object.entries(place)) box.setAttribute(name, value);
            const title = document.createElementNS(SVG, "title");
            title.textContent = `${times} times an even share`;
            box.append(title);
            drawn.append(box);
          }
        }
      }
      return drawn;
    }
    const pair = (name, ...value) => [make("dt", {}, name), make("dd", {}, ...value)];
    const times = (boxes) => boxes.map((box) => `${box[4].toFixed(1)}×`).join(", ");

    function history(row) {
      const said = own(data.history, row.case_id) || [];
      if (!said.length) return [];
      return [make("h3", {}, "Labels given"), make("ol", { class: "history" }, ...said.map(([on, method, status, value, low, high, evidence, reason]) =>
        make("li", {}, make("b", {}, value === null ? "no value" : label({ ...row, label: value, low, high, qualifier: null })),
          ` ${method}, ${status}, ${on}`,
          evidence || reason ? make("q", {}, evidence || reason) : null)))];
    }
    function show() {
      const row = order[at], picture = row.picture;
      find("h2").textContent = row.slide_id;
      find(".place").textContent = order.length > 1 ? `${at + 1} of ${order.length.toLocaleString("en")}` : "";
      for (const button of dialog.querySelectorAll(".step")) button.disabled = order.length < 2;
      stage.replaceChildren();
      find(".opacity").hidden = find(".legend").hidden = !(picture && picture.overlay);
      find(".enlarge").hidden = !picture;
      if (picture) {
        const drawn = layers(row, slider.value / 100);
        if (picture.overlay) drawn.append(marks(picture, thumbnails[picture.thumbnail]));
        stage.append(drawn);
      } else {
        stage.append(make("p", { class: "none" }, "The page does not hold this slide's picture. ",
          make("code", {}, "trephine report RUN --all"), " writes a page with the pictures of all slides."));
      }
      facts.replaceChildren(make("dl", {}, ...[
        pair("Label", label(row)), pair("Predicted", number(row.mean, row.digits)),
        pair("Error", number(row.error, row.digits, true)),
        row.called === null ? pair("Interval", interval(row)) : pair("Called", row.called),
        pair("± over bags", row.std === null ? "none, the slide is one bag" : number(row.std, row.digits)),
        pair("Tiles", `${row.n_tiles.toLocaleString("en")}, bags of ${data.bag}`),
        pair("Date", row.dated || "–"), pair("Case", row.case_id),
        pair("Quality", row.quality || "–"), pair("Scanner", row.scanner || "–"),
        row.evidence ? pair("Evidence", make("q", {}, row.evidence)) : [],
        picture && picture.most && picture.most.length && !data.even ? [
          ...pair("Most attended", make("span", { class: "sign most" }), times(picture.most)),
          ...pair("Least attended", make("span", { class: "sign least" }), times(picture.least)),
        ] : [],
        data.even ? pair("Attention", "even: mean pooling weighs all tiles alike") : [],
      ].flat()), ...history(row));
      scale();
    }
    function scale() {
      stage.classList.toggle("large", large);
      find(".enlarge").setAttribute("aria-pressed", large);
    }
    const step = (by) => { if (order.length > 1) { at = (at + by + order.length) % order.length; show(); } };
    slider.addEventListener("input", () => {
      const overlay = stage.querySelector(".overlay");
      if (overlay) overlay.style.opacity = slider.value / 100;
    });
    find(".enlarge").addEventListener("click", () => { large = !large; scale(); });
    find(".back").addEventListener("click", () => step(-1));
    find(".next").addEventListener("click", () => step(1));
    find(".close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("keydown", (event) => {
      if (event.target === slider) return;
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    });
    return { open(i, rows, from) { order = [...rows]; at = i; data = from; large = false; show(); dialog.showModal(); } };
  })();

  for (const section of document.querySelectorAll("section.cases")) table(section);
})();
