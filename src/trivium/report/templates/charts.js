"use strict";
// Charts: specifications come from the page, colours from its CSS variables, so light, dark and print share them.
(() => {
  const specs = JSON.parse(document.getElementById("charts-data").textContent);
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function painted(value, style) {
    if (typeof value === "string") {
      const match = /^var\((--[\w-]+)\)(?:\/([\d.]+))?$/.exec(value);
      return match ? `rgba(${style.getPropertyValue(match[1]).trim().split(/\s+/).join(",")},${match[2] || 1})` : value;
    }
    if (Array.isArray(value)) return typeof value[0] === "object" ? value.map((item) => painted(item, style)) : value;
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, painted(item, style)]));
  }

  function axis(own) {
    return {
      gridcolor: "var(--grid)", linecolor: "var(--rule)", zeroline: false, automargin: true, fixedrange: true,
      tickfont: { size: 11 }, ...own, title: { font: { size: 11 }, standoff: 6, ...(own || {}).title },
    };
  }

  function draw() {
    const style = getComputedStyle(root);
    for (const element of document.querySelectorAll("[data-chart]")) {
      const spec = specs[element.dataset.chart];
      const layout = {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "x unified",
        font: { family: style.getPropertyValue("--font"), size: 12, color: "var(--soft)" },
        margin: { l: 52, r: 12, t: 8, b: 34 }, height: 210, width: element.clientWidth,
        hoverlabel: { bgcolor: "var(--card)", bordercolor: "var(--rule)", font: { color: "var(--ink)", size: 12 } },
        ...spec.layout,
        xaxis: axis({ title: { text: "step" }, showgrid: false, showline: true, ...spec.layout.xaxis }),
        yaxis: axis({ hoverformat: ".3~g", ...spec.layout.yaxis }),
        ...(spec.layout.xaxis2 ? { xaxis2: axis(spec.layout.xaxis2) } : {}),
      };
      Plotly.react(element, painted(spec.data, style), painted(layout, style), { displayModeBar: false });
    }
  }

  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("#axioms details:not([open])")];
    opened.forEach((element) => { element.open = true; });
    root.classList.add("printing");
    draw();
  });
  window.addEventListener("afterprint", () => {
    opened.forEach((element) => { element.open = false; });
    root.classList.remove("printing");
    draw();
  });
  dark.addEventListener("change", draw);
  let pending = 0;
  window.addEventListener("resize", () => { clearTimeout(pending); pending = setTimeout(draw, 120); });
  draw();
})();
