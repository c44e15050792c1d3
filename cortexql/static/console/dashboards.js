"use strict";
// Dashboards: draws what has data-chart with ECharts, asks for answers again as jobs go, saves pictures, arranges.
// Charts are canvases: the policy forbids the style attributes that ECharts gives an SVG in the page.
(() => {
  const charts = new Map();
  const REFRESH_MS = 5000;
  const LONGEST_MS = 60000;
  const NAMED = new Set(["success", "failure", "cancelled", "waiting", "in_progress", "info", "safe", "suspicious", "malicious"]);

  // A canvas knows no light-dark(): the theme's colour is what the browser makes of it.
  const palette = (target) => {
    const kept = target.style.color;
    const read = (name) => {
      target.style.color = `var(--chart-${name})`;
      return getComputedStyle(target).color;
    };
    const found = { ink: read("ink"), line: read("line"), paper: read("paper"), all: [1, 2, 3, 4, 5, 6, 7, 8].map(read) };
    found.of = (name, at) => (NAMED.has(name) ? read(name) : found.all[at % found.all.length]);
    found.names = (names) => names.map(found.of);
    found.done = () => { target.style.color = kept; };
    return found;
  };
  const pad = (number) => String(number).padStart(2, "0");
  const clock = (names) => {
    const times = names.map((name) => new Date(name));
    const isDays = times.every((time) => time.getUTCHours() === 0 && time.getUTCMinutes() === 0);
    const isLong = times.length > 1 && times.at(-1) - times[0] > 86400000;
    return times.map((time) => {
      const day = `${pad(time.getUTCMonth() + 1)}-${pad(time.getUTCDate())}`;
      const hour = `${pad(time.getUTCHours())}:${pad(time.getUTCMinutes())}`;
      return isDays ? day : isLong ? `${day} ${hour}` : hour;
    });
  };
  const short = (value) => (value === null || value === undefined ? "–" : Math.round(value * 100) / 100);
  const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

  const optionOf = (drawn, target) => {
    const colours = palette(target);
    const text = { color: colours.ink, fontFamily: "system-ui, sans-serif", fontSize: 12 };
    const tooltip = { renderMode: "richText", confine: true, valueFormatter: short, backgroundColor: colours.paper, borderColor: colours.line, textStyle: text };
    const shared = { animation: false, textStyle: text, legend: { type: "scroll", bottom: 0, textStyle: text, icon: "roundRect", itemWidth: 12, itemHeight: 8, pageIconColor: colours.ink, pageTextStyle: text } };
    const option = drawn.type === "donut" ? donut(drawn, colours, shared, tooltip) : axes(drawn, colours, shared, tooltip, text, target);
    colours.done();
    return option;
  };
  const donut = (drawn, colours, shared, tooltip) => ({
    ...shared,
    tooltip: { ...tooltip, trigger: "item" },
    series: [{
      type: "pie",
      radius: ["46%", "74%"],
      center: ["50%", "44%"],
      label: { show: false },
      itemStyle: { borderColor: colours.paper, borderWidth: 2 },
      data: drawn.names.map((name, at) => ({ name, value: drawn.series[0].values[at], itemStyle: { color: colours.of(name, at) } })),
    }],
  });
  const axes = (drawn, colours, shared, tooltip, text, target) => {
    const isTime = /^\d{4}-\d\d-\d\dT/.test(drawn.names[0] ?? "");
    const isFlat = drawn.type === "bar" && !isTime;
    const many = drawn.series.length > 1;
    const names = { type: "category", data: isTime ? clock(drawn.names) : drawn.names, axisLine: { lineStyle: { color: colours.line } }, axisTick: { show: false }, axisLabel: { ...text, hideOverlap: true } };
    const isWhole = drawn.series.every((one) => one.values.every((value) => value === null || Number.isInteger(value)));
    const figures = { type: "value", minInterval: isWhole ? 1 : 0, axisLabel: { ...text, hideOverlap: true }, splitLine: { lineStyle: { color: colours.line } }, splitNumber: 4 };
    if (isFlat) Object.assign(names, { inverse: true, axisLabel: { ...text, interval: 0, formatter: (name) => cut(name, target.clientWidth < 420 ? 16 : 28) } });
    const series = drawn.series.map((one, at) => {
      const color = colours.of(one.name, at);
      return drawn.type === "bar"
        ? { name: one.name, type: "bar", stack: many ? "all" : undefined, barMaxWidth: 28, itemStyle: { color, borderRadius: many ? 0 : 3 }, data: isFlat ? one.values.map((value, place) => ({ value, itemStyle: { color: colours.of(drawn.names[place], 0) } })) : one.values }
        : { name: one.name, type: "line", lineStyle: { width: 2, color }, itemStyle: { color }, symbolSize: 5, showSymbol: one.values.filter((value) => value !== null).length < 40, connectNulls: false, data: one.values, areaStyle: many ? undefined : { color, opacity: 0.12 } };
    });
    return {
      ...shared,
      legend: many ? shared.legend : { show: false },
      tooltip: { ...tooltip, trigger: "axis", axisPointer: { type: drawn.type === "bar" ? "shadow" : "line" } },
      grid: { left: 4, right: 14, top: 12, bottom: many ? 34 : 4, outerBounds: { left: 4, right: 14, top: 12, bottom: many ? 34 : 4 } },
      xAxis: isFlat ? figures : names,
      yAxis: isFlat ? names : figures,
      series,
    };
  };

  const draw = (target) => {
    let chart = charts.get(target);
    if (!chart) {
      chart = echarts.init(target, null, { renderer: "canvas" });
      charts.set(target, chart);
      // ECharts gives its canvas a focus and a style that a picture with a name does not need.
      target.querySelector("canvas")?.setAttribute("aria-hidden", "true");
    }
    chart.setOption(optionOf(JSON.parse(target.dataset.chart), target), true);
  };
  const look = () => {
    for (const [target, chart] of charts) {
      if (target.isConnected) continue;
      chart.dispose();
      charts.delete(target);
    }
    for (const target of document.querySelectorAll("[data-chart]")) if (!charts.has(target)) draw(target);
  };
  const again = () => {
    for (const [target, chart] of charts) {
      chart.resize();
      draw(target);
    }
  };

  // A picture is drawn anew, with its title and on paper, off the page.
  const save = (kind, widget) => {
    const target = widget.querySelector("[data-chart]");
    if (!target) return;
    const title = widget.querySelector(".card-title").textContent.trim();
    const colours = palette(target);
    colours.done();
    const option = optionOf(JSON.parse(target.dataset.chart), target);
    option.backgroundColor = colours.paper;
    option.title = { text: title, left: 12, top: 10, textStyle: { color: colours.ink, fontSize: 15, fontFamily: "system-ui, sans-serif" } };
    if (option.grid) {
      const room = { top: 52, left: 12, right: 20, bottom: option.grid.bottom + 8 };
      option.grid = { ...room, outerBounds: room };
    }
    const size = { width: Math.max(target.clientWidth, 480), height: Math.max(target.clientHeight, 260) + 40 };
    const name = `${title.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "chart"}.${kind}`;
    if (kind === "svg") {
      const chart = echarts.init(null, null, { renderer: "svg", ssr: true, ...size });
      chart.setOption(option);
      download(new Blob([chart.renderToSVGString()], { type: "image/svg+xml" }), name);
      chart.dispose();
    } else {
      const chart = echarts.init(document.createElement("div"), null, { renderer: "canvas", devicePixelRatio: 2, ...size });
      chart.setOption(option);
      chart.getZr().flush();
      chart.getRenderedCanvas({ pixelRatio: 2 }).toBlob((blob) => download(blob, name), "image/png");
      setTimeout(() => chart.dispose(), 1000);
    }
  };
  const download = (blob, name) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  // Answers cost more than a page: they are asked again every five seconds at most, and once a minute at least.
  const follow = (board) => {
    let last = Date.now();
    let waiting;
    const refresh = () => {
      clearTimeout(waiting);
      waiting = undefined;
      if (document.hidden) return;
      last = Date.now();
      for (const body of board.querySelectorAll(".widget-body")) {
        if (!body.querySelector("details[open]")) htmx.trigger(body, "refresh");
      }
    };
    board.addEventListener("live", () => {
      waiting ??= setTimeout(refresh, Math.max(last + REFRESH_MS - Date.now(), 0));
    });
    setInterval(() => { if (Date.now() - last >= LONGEST_MS) refresh(); }, 5000);
  };
  const arrange = (board) => {
    if (!board.querySelector(".grip")) return;
    new Sortable(board, {
      handle: ".card-header",
      filter: "button, a, input",
      preventOnFilter: false,
      animation: 0,
      forceFallback: true,
      onEnd: (event) => {
        if (event.oldIndex === event.newIndex) return;
        const form = document.getElementById("order");
        for (const widget of board.querySelectorAll("[data-widget]")) {
          const field = form.appendChild(document.createElement("input"));
          Object.assign(field, { type: "hidden", name: "order", value: widget.dataset.widget });
        }
        form.submit();
      },
    });
  };
  const form = document.getElementById("widget-form");
  form?.addEventListener("change", async (event) => {
    form.dataset.type = form.elements.type.value;
    form.dataset.measure = form.elements.measure.value;
    if (event.target.name !== "source") return;
    const fields = new FormData(form);
    fields.set("show", "1");
    const answer = await fetch(form.action, { method: "POST", body: fields });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ["fields", "numbers", "offered"]) {
      document.getElementById(id)?.replaceChildren(...(page.getElementById(id)?.childNodes ?? []));
    }
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-save]");
    if (button) save(button.dataset.save, button.closest("[data-widget]"));
    if (event.target.closest?.("[data-fullscreen]")) document.documentElement.requestFullscreen?.();
  });
  for (const button of document.querySelectorAll("[data-fullscreen]")) button.hidden = !document.fullscreenEnabled;
  let resizing;
  window.addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(again, 150); });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTimeout(again, 50));
  document.addEventListener("htmx:load", look);
  document.addEventListener("htmx:afterSettle", look);
  for (const board of document.querySelectorAll("[data-dashboard]")) {
    follow(board);
    arrange(board);
  }
  look();
})();
