"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const hidden = new Set();
  const drawn = [];

  const make = (tag, properties = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  };
  const options = (select, names) => names.forEach((name) => select.append(new Option(name, name)));
  const unique = (values) => [...new Set(values)];

  // Colours that white paper carries are lifted on black paper.
  const shade = (colour) =>
    dark.matches ? { "#000000": "#f0f0f0", "#707070": "#a8a8a8", "#0072B2": "#4aa8e0" }[colour] || colour : colour;
  const shaded = (trace) => {
    const copy = structuredClone(trace);
    if (copy.line && copy.line.color) copy.line.color = shade(copy.line.color);
    if (copy.marker && copy.marker.color) copy.marker.color = shade(copy.marker.color);
    if (copy.fillcolor) copy.fillcolor = shade(copy.fillcolor);
    copy.visible = !hidden.has(trace.meta);
    return copy;
  };

  const draw = (entry) => {
    const chart = entry.charts[entry.select.value];
    const axis = { gridcolor: css("--grid"), zeroline: false, linecolor: css("--rule"), fixedrange: true };
    const layout = {
      ...chart.layout,
      margin: { l: 56, r: 12, t: 10, b: 40 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: css("--ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
      legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom" },
      hoverlabel: { bgcolor: css("--wash"), font: { color: css("--ink") } },
      xaxis: { ...axis, ...chart.layout.xaxis },
      yaxis: { ...axis, ...chart.layout.yaxis },
    };
    Plotly.react(entry.plot, chart.data.map(shaded), layout, { responsive: true, displayModeBar: false });
    entry.plot.setAttribute("aria-label", `${entry.select.value}, ${entry.title}`);
  };

  document.querySelectorAll("[data-charts]").forEach((place) => {
    data[place.dataset.charts].forEach((set) => {
      const select = make("select", { ariaLabel: "What is drawn" });
      options(select, Object.keys(set.charts));
      const plot = make("div", { className: "plot" });
      plot.setAttribute("role", "img");
      const entry = { ...set, select, plot };
      const head = make("div", { className: "chart-head" }, make("h3", { textContent: set.title }), select);
      place.append(make("div", { className: "chart" }, head, plot));
      select.addEventListener("change", () => draw(entry));
      drawn.push(entry);
      draw(entry);
    });
  });
  dark.addEventListener("change", () => drawn.forEach(draw));

  document.querySelectorAll("#codecs input").forEach((box) =>
    box.addEventListener("change", () => {
      box.checked ? hidden.delete(box.dataset.label) : hidden.add(box.dataset.label);
      drawn.forEach(draw);
      document.querySelectorAll("#table tbody tr").forEach((row) => (row.hidden = hidden.has(row.dataset.label)));
    }),
  );

  if (data.pictures.length) {
    const [which, left, right] = ["which", "left", "right"].map((id) => document.getElementById(id));
    const labels = unique(data.pictures.map((picture) => picture.label));
    options(which, unique(data.pictures.map((picture) => picture.image)));
    options(left, labels);
    options(right, labels);
    right.selectedIndex = Math.min(1, labels.length - 1);
    const split = document.getElementById("split");
    const put = (side, label) => {
      const picture = data.pictures.find((one) => one.image === which.value && one.label === label);
      const img = document.getElementById(`img-${side}`);
      img.hidden = !picture;
      if (!picture) return `${label}: none kept`;
      img.src = picture.data;
      img.alt = `${picture.image}, ${label}`;
      img.width = picture.width;
      img.height = picture.height;
      return picture.psnr === null ? label : `${label} (${picture.psnr.toFixed(2)} dB)`;
    };
    const show = () => {
      const texts = [put("left", left.value), put("right", right.value)];
      document.getElementById("caption").textContent = `${which.value}: left ${texts[0]}, right ${texts[1]}`;
    };
    const move = () => {
      document.getElementById("img-left").style.clipPath = `inset(0 ${100 - split.value}% 0 0)`;
      document.getElementById("line").style.left = `${split.value}%`;
    };
    [which, left, right].forEach((select) => select.addEventListener("change", show));
    split.addEventListener("input", move);
    show();
    move();
  }

  if (data.gaps.length) {
    const [reference, quantity] = ["gap-reference", "gap-quantity"].map((id) => document.getElementById(id));
    options(reference, unique(data.gaps.map((gap) => gap.reference)));
    options(quantity, unique(data.gaps.map((gap) => gap.quantity)));
    const several = unique(data.gaps.map((gap) => gap.channel)).length > 1;
    const body = document.querySelector("#gap-table tbody");
    const text = (value) => (value === null ? "-" : String(value));
    const fill = () => {
      body.replaceChildren(
        ...data.gaps
          .filter((gap) => gap.reference === reference.value && gap.quantity === quantity.value)
          .map((gap) => {
            const [mean, low, high] = gap.gap;
            const row = make("tr", { className: low !== null && low * high > 0 ? "" : "unsure" });
            const at = several ? `${gap.at}, ${gap.channel}` : gap.at;
            [gap.label, at, `${text(mean)} ${gap.unit}`, `${text(low)} to ${text(high)}`].forEach((value) =>
              row.append(make("td", { textContent: value })),
            );
            return row;
          }),
      );
    };
    [reference, quantity].forEach((select) => select.addEventListener("change", fill));
    fill();
  }

  document.querySelectorAll(".sortable thead th").forEach((head, column) =>
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      head.parentNode.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = head.closest("table").tBodies[0];
      const key = ({ cells: { [column]: cell } }) => cell.dataset.number ?? cell.textContent;
      const order = (a, b) => {
        const [x, y] = [Number(key(a)), Number(key(b))];
        return Number.isNaN(x) || Number.isNaN(y) ? key(a).localeCompare(key(b)) : x - y;
      };
      const rows = [...body.rows].sort(order);
      body.append(...(down ? rows.reverse() : rows));
    }),
  );
})();
