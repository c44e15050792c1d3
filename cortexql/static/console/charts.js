"use strict";
// The last day's jobs and their latency, drawn by uPlot from /admin/figures.json; looked at again once a minute.
(() => {
  const place = document.getElementById("charts");
  if (!place) return;
  const charts = [];

  const draw = async () => {
    if (document.hidden) return;
    const answer = await fetch(place.dataset.source, { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    const figures = await answer.json();
    charts.splice(0).forEach((chart) => chart.destroy());
    place.hidden = figures.times.length === 0;
    for (const target of place.querySelectorAll("[data-series]")) charts.push(chart(target, figures));
  };

  const chart = (target, figures) => {
    const names = target.dataset.series.split(" ");
    // A canvas knows no light-dark(): the theme's colour is what the browser makes of it.
    const color = (name) => {
      target.style.color = `var(--chart-${name})`;
      return getComputedStyle(target).color;
    };
    const clock = (moment) => new Date(moment * 1000).toTimeString().slice(0, 5);
    const axis = { stroke: color("ink"), grid: { stroke: color("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const seconds = target.dataset.unit === "s";
    const series = names.map((name) => ({
      label: name,
      stroke: color(name),
      width: 2,
      fill: seconds ? undefined : color(`${name}-fill`),
      points: { show: figures.times.length < 3 },
      paths: seconds ? undefined : uPlot.paths.bars({ size: [0.7, 40] }),
      value: (_, value) => (value === null ? "–" : seconds ? `${value} s` : String(value)),
    }));
    const now = Date.now() / 1000;
    const options = {
      width: target.clientWidth,
      height: 190,
      cursor: { y: false },
      scales: { x: { range: [now - 86400, now] }, y: { range: (_, low, high) => [0, Math.max(high * 1.1, 1)] } },
      axes: [{ ...axis, values: (_, moments) => moments.map(clock) }, { ...axis, size: 42 }],
      series: [{ label: "from", value: (_, moment) => (moment ? clock(moment) : "–") }, ...series],
    };
    return new uPlot(options, [figures.times, ...names.map((name) => figures[name])], target);
  };

  let waiting;
  const later = () => { clearTimeout(waiting); waiting = setTimeout(draw, 200); };
  window.addEventListener("resize", later);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later);
  document.addEventListener("visibilitychange", later);
  setInterval(draw, 60000);
  draw();
})();
