"use strict";
(() => {
  const tip = document.getElementById("tip");
  const create = (name, text) => {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    return node;
  };

  // --- theme ---------------------------------------------------------------------------------------------------------
  const theme = document.getElementById("theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // --- the read-out --------------------------------------------------------------------------------------------------
  let source = null;
  const hide = () => {
    if (source) source.dispatchEvent(new CustomEvent("reading-ends"));
    source = null;
    tip.hidden = true;
  };
  const show = (from, x, y, ...content) => {
    if (source && source !== from) hide();
    source = from;
    tip.replaceChildren(...content);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = x + 14 + box.width > innerWidth - 8 ? x - 14 - box.width : x + 14;
    const top = y + 14 + box.height > innerHeight - 8 ? y - 14 - box.height : y + 14;
    tip.style.left = `${Math.max(8, Math.min(left, innerWidth - box.width - 8))}px`;
    tip.style.top = `${Math.max(8, top)}px`;
  };
  addEventListener("scroll", hide, { passive: true });
  addEventListener("keydown", (event) => event.key === "Escape" && hide());
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest("svg[role=img]")) hide();
  });
  const leavesOff = (chart) => {
    chart.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
    chart.addEventListener("blur", hide);
  };

  // --- curves --------------------------------------------------------------------------------------------------------
  const reading = (data, curve, at) => {
    const mean = curve.mean[at];
    if (mean === null) return "–";
    const spread = curve.deviation[at];
    // Two digits of the spread, or three of the mean where there is none.
    const shown = spread || Math.abs(mean) / 10;
    const places = shown ? Math.min(8, Math.max(0, 1 - Math.floor(Math.log10(shown)))) : 1;
    const digits = (value) => value.toFixed(data.percent ? 1 : places);
    const text = spread === null ? digits(mean) : `${digits(mean)} ± ${digits(spread)}`;
    return text.replaceAll("-", "−") + (data.percent ? " %" : "");
  };
  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    const chart = figure.querySelector(".area");
    const cursor = chart.querySelector(".cursor");
    const first = Number(chart.dataset.first);
    const last = Number(chart.dataset.last);
    let data = null;
    let epoch = null;
    // Of all curves: an arm may have been measured at other epochs than the rest.
    const known = () => [...new Set(data.curves.flatMap((curve) => curve.epochs))].sort((a, b) => a - b);
    const read = (target, x, y) => {
      data ??= JSON.parse(document.getElementById(figure.dataset.chart).textContent);
      epoch = known().reduce((a, b) => (Math.abs(b - target) < Math.abs(a - target) ? b : a));
      const share = last > first ? (epoch - first) / (last - first) : 0.5;
      for (const end of ["x1", "x2"]) cursor.setAttribute(end, `${share * 100}%`);
      chart.classList.add("reading-now");
      const box = chart.getBoundingClientRect();
      const table = create("table");
      for (const curve of data.curves) {
        const at = curve.epochs.indexOf(epoch);
        if (at < 0) continue;
        const row = table.insertRow();
        const swatch = create("span");
        swatch.className = `swatch ${curve.colour}`;
        const arm = create("td");
        arm.append(swatch, curve.arm);
        row.append(arm, create("td", reading(data, curve, at)), create("td", `n = ${curve.n[at]}`));
      }
      show(chart, x ?? box.left + share * box.width, y ?? box.top + box.height / 3, create("p", `Epoch ${epoch}`), table);
    };
    const follow = (event) => {
      const box = chart.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      read(first + share * (last - first), event.clientX, event.clientY);
    };
    chart.addEventListener("pointermove", follow);
    chart.addEventListener("pointerdown", follow);
    chart.addEventListener("reading-ends", () => chart.classList.remove("reading-now"));
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      if (epoch === null || !Number.isFinite(step)) return read(step < 0 ? first : step > 1 ? last : first);
      const epochs = known();
      read(epochs[Math.min(epochs.length - 1, Math.max(0, epochs.indexOf(epoch) + step))]);
    });
    leavesOff(chart);
  }

  // --- one arm picked out of the curves --------------------------------------------------------------------------------
  const curves = document.getElementById("curves");
  for (const key of document.querySelectorAll(".key")) {
    key.addEventListener("click", () => {
      const pick = key.getAttribute("aria-pressed") !== "true";
      for (const other of document.querySelectorAll(".key")) other.setAttribute("aria-pressed", String(pick && other === key));
      curves.classList.toggle("picking", pick);
      for (const part of curves.querySelectorAll("[data-arm]")) part.classList.toggle("picked", pick && part.dataset.arm === key.dataset.arm);
    });
  }

  // --- marks that carry their reading as a title -------------------------------------------------------------------------
  const titleOf = (mark) => {
    const title = mark.querySelector("title");
    if (title) {
      mark.dataset.reading = title.textContent;
      title.remove(); // or the browser would show it a second time
    }
    return mark.dataset.reading;
  };
  for (const chart of document.querySelectorAll("svg.forest, svg.dots, svg.matrix")) {
    const marks = chart.getElementsByClassName("mark");
    let now = null;
    const leave = () => now?.classList.remove("now");
    const read = (mark, x, y) => {
      leave();
      now = mark;
      mark.classList.add("now");
      const box = mark.getBoundingClientRect();
      show(chart, x ?? box.left + box.width / 2, y ?? box.bottom, create("p", titleOf(mark)));
    };
    const point = (event) => {
      const mark = event.target.closest(".mark");
      if (mark) read(mark, event.clientX, event.clientY);
    };
    chart.addEventListener("pointermove", point);
    chart.addEventListener("pointerdown", point);
    chart.addEventListener("reading-ends", leave);
    if (marks.length) {
      const columns = Number(chart.dataset.columns || 0);
      const left = (mark) => mark.getBoundingClientRect().left;
      let inOrder = null;
      chart.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
        if (!step) return;
        event.preventDefault();
        inOrder ??= columns ? Array.from(marks) : Array.from(marks).sort((a, b) => left(a) - left(b));
        const at = now ? inOrder.indexOf(now) + step : 0;
        if (at >= 0 && at < inOrder.length) read(inOrder[at]);
      });
    }
    leavesOff(chart);
  }

  // --- matrices of many classes: their cells share paths, so a cell is found by its place ----------------------------------
  for (const holder of document.querySelectorAll("[data-matrix]")) {
    const stored = document.getElementById(holder.dataset.matrix);
    if (!stored) continue;
    const chart = holder.querySelector("svg");
    const frame = chart.querySelector(".frame");
    let data = null;
    let cell = null;
    const read = (row, column, x, y) => {
      data ??= JSON.parse(stored.textContent);
      const last = data.classes.length - 1;
      cell = [Math.min(last, Math.max(0, row)), Math.min(last, Math.max(0, column))];
      const count = data.counts[cell[0]][cell[1]];
      const total = data.totals[cell[0]];
      const share = total ? ((100 * count) / total).toFixed(1) : "0.0";
      const box = frame.getBoundingClientRect();
      const text = `${data.classes[cell[0]]} taken for ${data.classes[cell[1]]}: ${count} of ${total} (${share} %)`;
      const size = box.width / data.classes.length;
      show(chart, x ?? box.left + (cell[1] + 1) * size, y ?? box.top + (cell[0] + 1) * size, create("p", text));
    };
    const point = (event) => {
      const box = frame.getBoundingClientRect();
      const columns = Number(chart.dataset.columns);
      const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
      const row = Math.floor(((event.clientY - box.top) / box.height) * columns);
      if (row >= 0 && column >= 0 && row < columns && column < columns) read(row, column, event.clientX, event.clientY);
    };
    chart.addEventListener("pointermove", point);
    chart.addEventListener("pointerdown", point);
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
      if (!step) return;
      event.preventDefault();
      if (cell) read(cell[0] + step[0], cell[1] + step[1]);
      else read(0, 0);
    });
  }

  // --- decision boundaries by epoch ----------------------------------------------------------------------------------------
  const slider = document.getElementById("film-epoch");
  let atLast = () => {};
  let asBefore = () => {};
  if (slider) {
    const play = document.getElementById("film-play");
    const epochs = slider.dataset.epochs.split(" ").map(Number);
    const last = epochs.length - 1;
    const panels = Array.from(document.querySelectorAll("figure[data-film]"), (figure) => ({
      stored: document.getElementById(figure.dataset.film),
      shapes: figure.querySelectorAll(".shade, .decision"),
      text: figure.querySelector(".now"),
      shown: null,
    })).filter((panel) => panel.stored);
    const draw = (at) => {
      for (const panel of panels) {
        panel.data ??= JSON.parse(panel.stored.textContent);
        // A panel keeps its latest frame until its next one.
        const frame = Math.max(0, panel.data.epochs.findLastIndex((epoch) => epoch <= epochs[at]));
        if (frame === panel.shown) continue;
        panel.shown = frame;
        panel.shapes.forEach((shape, index) => shape.setAttribute("d", panel.data.paths[frame][index]));
        panel.text.textContent = panel.data.texts[frame];
      }
      document.getElementById("film-now").textContent = epochs[at];
      slider.setAttribute("aria-valuetext", `epoch ${epochs[at]}`);
    };
    let timer = null;
    const pause = () => {
      clearInterval(timer);
      timer = null;
      play.textContent = "Play";
      play.setAttribute("aria-label", "Play the epochs");
    };
    const step = () => {
      slider.value = Number(slider.value) + 1;
      draw(Number(slider.value));
      if (Number(slider.value) === last) pause();
    };
    play.addEventListener("click", () => {
      if (timer !== null) return pause();
      if (Number(slider.value) === last) draw((slider.value = 0));
      timer = setInterval(step, 250);
      play.textContent = "Pause";
      play.setAttribute("aria-label", "Pause");
    });
    slider.addEventListener("input", () => {
      pause();
      draw(Number(slider.value));
    });
    // A reload must not leave the slider where it was and the drawings at the last epoch.
    slider.value = last;
    atLast = () => {
      pause();
      draw(last);
    };
    asBefore = () => draw(Number(slider.value));
    document.getElementById("film").hidden = false;
  }

  // --- a link to a fold opens it -------------------------------------------------------------------------------------------
  for (const link of document.querySelectorAll("a[href^='#']")) {
    const target = document.getElementById(link.getAttribute("href").slice(1));
    if (target instanceof HTMLDetailsElement) link.addEventListener("click", () => (target.open = true));
  }

  // --- print what is folded --------------------------------------------------------------------------------------------
  let opened = [];
  addEventListener("beforeprint", () => {
    atLast();
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    for (const fold of opened) fold.open = true;
  });
  addEventListener("afterprint", () => {
    for (const fold of opened) fold.open = false;
    asBefore();
  });
})();
