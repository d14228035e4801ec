"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const theme = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function draw() {
  for (const [id, figure] of Object.entries(figures)) {
    const layout = structuredClone(figure.layout);
    layout.font.color = theme("--text");
    for (const axis of [layout.xaxis, layout.yaxis]) {
      axis.gridcolor = axis.linecolor = axis.tickcolor = theme("--rule");
    }
    layout.hoverlabel = { bgcolor: theme("--card"), font: { color: theme("--text") }, align: "left" };
    Plotly.react(id, figure.data, layout, { responsive: true, displayModeBar: false });
  }
}

draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
